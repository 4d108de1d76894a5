import { expect, test } from "vitest";
import type { DiffFile } from "../api/model";
import { changed } from "./patch";

const file = (path: string, status: DiffFile["status"] = "modified"): DiffFile => ({ path, status, additions: 1, deletions: 1 });

const PATCH = `diff --git a/a.txt b/a.txt
index 1..2 100644
--- a/a.txt
+++ b/a.txt
@@ -3,4 +3,5 @@ three
 c
-d
+D
+E
 e
 f
@@ -20,2 +21,1 @@
-gone
 kept
\\ No newline at end of file
diff --git a/moved b/there
similarity index 100%
rename from moved
rename to there
diff --git a/--- b/---
new file mode 100644
--- /dev/null
+++ b/---
@@ -0,0 +1 @@
+diff --git is only a line here
`;

test("a patch is told file by file, with the numbers of its lines", () => {
  const all = changed([file("a.txt"), file("there", "renamed"), file("---", "added")], PATCH);
  expect(all?.map((one) => one.rows.map((row) => row.kind))).toEqual([
    ["gap", "same", "changed", "added", "same", "same", "gap", "removed", "same"],
    [],
    ["added"],
  ]);
  const rows = all?.[0]?.rows ?? [];
  expect(rows[0]?.hidden).toBe(2);
  expect(rows[2]).toMatchObject({ left: { n: 4, text: "d" }, right: { n: 4, text: "D" } });
  expect(rows[3]).toMatchObject({ right: { n: 5, text: "E" } });
  expect(rows[6]?.hidden).toBe(13);
  expect(rows[8]).toMatchObject({ left: { n: 21, text: "kept" }, right: { n: 21, text: "kept" } });
  expect(all?.[2]?.rows[0]?.right).toEqual({ n: 1, text: "diff --git is only a line here" });
});

test("what does not fit is not guessed at", () => {
  expect(changed([file("a.txt")], PATCH)).toBeUndefined();
  expect(changed([], "")).toEqual([]);
});
