// A patch as git writes it, file by file, as the rows that two texts side by side have.
import type { DiffFile } from "../api/model";
import type { Row } from "./diff";

export interface Changed {
  file: DiffFile;
  rows: Row[];
}

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/;

/**
 * Pairs each file with its part of the patch: both come in the same order, and a file that became another kind of thing has two
 * parts. Nothing when they do not fit, which a patch of ours never is.
 */
export function changed(files: DiffFile[], patch: string): Changed[] | undefined {
  const parts = patch.split(/^(?=diff --git )/m).filter((part) => part.startsWith("diff --git "));
  let at = 0;
  const all = files.map((file): Changed => {
    const own = parts.slice(at, at + (file.status === "type_changed" ? 2 : 1));
    at += own.length;
    return { file, rows: own.flatMap(rows) };
  });
  const expected = files.reduce((sum, file) => sum + (file.status === "type_changed" ? 2 : 1), 0);
  return parts.length === expected ? all : undefined;
}

function rows(part: string): Row[] {
  const found: Row[] = [];
  let removed: Row["left"][] = [];
  let added: Row["right"][] = [];
  let left = 0;
  let right = 0;
  /** Where the last hunk ended. */
  let end = 1;
  const flush = () => {
    for (let at = 0; at < Math.max(removed.length, added.length); at++) {
      const [l, r] = [removed[at], added[at]];
      found.push({ kind: l && r ? "changed" : l ? "removed" : "added", ...(l ? { left: l } : {}), ...(r ? { right: r } : {}) });
    }
    removed = [];
    added = [];
  };
  let inside = false;
  for (const line of part.split("\n")) {
    const hunk = HUNK.exec(line);
    if (hunk) {
      flush();
      inside = true;
      left = Number(hunk[1]);
      right = Number(hunk[2]);
      if (left > end) found.push({ kind: "gap", hidden: left - end });
    } else if (!inside) {
      continue;
    } else if (line.startsWith("-")) {
      removed.push({ n: left++, text: line.slice(1) });
      end = left;
    } else if (line.startsWith("+")) {
      added.push({ n: right++, text: line.slice(1) });
    } else if (line.startsWith(" ")) {
      flush();
      found.push({ kind: "same", left: { n: left++, text: line.slice(1) }, right: { n: right++, text: line.slice(1) } });
      end = left;
    }
  }
  flush();
  return found;
}
