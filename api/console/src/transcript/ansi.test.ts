import { expect, test } from "vitest";
import { pieces } from "./ansi";

const plain = (text: string) => pieces(text).map((piece) => piece.text).join("");

test("colours become styles and nothing else is left of an escape", () => {
  expect(pieces("\u001b[1;32mok\u001b[0m done")).toEqual([
    { text: "ok", style: { bold: true, fg: "green" } },
    { text: " done", style: {} },
  ]);
  expect(plain("\u001b[38;5;196mx\u001b[48;2;1;2;3my\u001b[m")).toBe("xy");
});

test("titles, links, cursors and control characters are left out", () => {
  expect(plain("\u001b]0;title\u0007a\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\")).toBe("alink");
  expect(plain("\u001b[2J\u001b[Ha\u0008\u0000b\u001b[?25l")).toBe("ab");
  expect(plain("\u001b[")).toBe("[");
});

test("a progress bar is its last state", () => {
  expect(plain("10%\r50%\r100%\nend\r\n")).toBe("100%\nend\n");
});
