import { expect, test } from "vitest";
import { above, crumbs, tidy, within } from "./places";

test("paths are said as short as they can be", () => {
  for (const [given, expected] of [["", "."], [".", "."], ["./", "."], ["./src//a/", "src/a"], ["/home/me/work", "."], ["/home/me/work/src/a.rs", "src/a.rs"], ["/home/me/workshop", "/home/me/workshop"], ["../x", "../x"], ["/", "/"]] as const) {
    expect(tidy(given, "/home/me/work")).toBe(expected);
  }
  expect(tidy("/x/", undefined)).toBe("/x");
});

test("one goes down and up again", () => {
  expect(within(".", "src")).toBe("src");
  expect(within("src", "a b.rs")).toBe("src/a b.rs");
  expect(within("/", "etc")).toBe("/etc");
  for (const [path, folder] of [["src/a", "src"], ["src", "."], ["/etc", "/"]] as const) expect(above(path)).toBe(folder);
  expect(crumbs(".")).toEqual([]);
  expect(crumbs("a/b").map((one) => one.path)).toEqual(["a", "a/b"]);
  expect(crumbs("/a/b").map((one) => one.path)).toEqual(["/a", "/a/b"]);
});
