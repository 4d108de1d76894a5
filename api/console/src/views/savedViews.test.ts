import { expect, test } from "vitest";
import { parse, same } from "./savedViews";

test("what was kept is read, and nothing else", () => {
  expect(parse('[{"name":"Mine","filters":{"q":"flaky","agent":"","more":"x"}},{"name":7},null,{"name":"Bare"}]')).toEqual([{ name: "Mine", filters: { q: "flaky" } }]);
  for (const text of ["", "{", "7", "null"]) expect(parse(text)).toEqual([]);
  expect(parse(JSON.stringify(Array.from({ length: 90 }, (_, n) => ({ name: `${n}`, filters: {} })))).length).toBe(20);
});

test("views are told apart by their filters", () => {
  expect(same({ q: "a" }, { q: "a", view: "" })).toBe(true);
  expect(same({ q: "a" }, { q: "a", view: "idle" })).toBe(false);
});
