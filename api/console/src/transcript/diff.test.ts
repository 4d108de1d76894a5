import { expect, test } from "vitest";
import { diff } from "./diff";

/** What each side shows must be the texts themselves, whatever they are. */
function check(before: string, after: string) {
  const rows = diff(before, after, Infinity);
  const side = (which: "left" | "right") => rows.flatMap((row) => (row[which] ? [row[which].text] : []));
  const lines = (text: string) => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));
  expect(side("left")).toEqual(lines(before));
  expect(side("right")).toEqual(lines(after));
  for (const row of rows) if (row.kind === "same") expect(row.left?.text).toBe(row.right?.text);
  return rows.map((row) => row.kind);
}

test("one changed line among others", () => {
  expect(check("a\nb\nc\n", "a\nB\nc\n")).toEqual(["same", "changed", "same"]);
});

test("lines that came and went", () => {
  expect(check("", "a\nb\n")).toEqual(["added", "added"]);
  expect(check("a\nb\n", "")).toEqual(["removed", "removed"]);
  expect(check("a\nc\n", "a\nb\nc\n")).toEqual(["same", "added", "same"]);
});

test("both sides are whole for any texts", () => {
  let seed = 7;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 300; round++) {
    const make = () => Array.from({ length: random(12) }, () => "abcd"[random(4)]).join("\n");
    check(make(), make());
  }
});

test("long unchanged stretches fold", () => {
  const lines = Array.from({ length: 40 }, (_, n) => `line ${n}`);
  const rows = diff(lines.join("\n"), lines.with(20, "other").join("\n"));
  expect(rows.map((row) => row.kind)).toEqual(["gap", "same", "same", "same", "changed", "same", "same", "same", "gap"]);
  expect(rows[0]?.hidden).toBe(17);
});
