import { expect, test } from "vitest";
import { isReply } from "./replies";

test("answers of a terminal are told from typing", () => {
  for (const reply of ["\u001b[?1;2c", "\u001b[>0;276;0c", "\u001b[12;40R", "\u001b[0n", "\u001b]11;rgb:ffff/ffff/ffff\u001b\\", "\u001bP1$r0m\u001b\\", "\u001b[?2026;2$y"]) {
    expect(isReply(reply), JSON.stringify(reply)).toBe(true);
  }
  for (const typed of ["a", "\r", "\u001b", "\u001b[A", "\u001b[1;5D", "\u001bOP", "\u001b[200~ls\u001b[201~", "\u0003", "ls -c", "\u001b[3~"]) {
    expect(isReply(typed), JSON.stringify(typed)).toBe(false);
  }
});
