import { expect, test } from "vitest";
import type { Item } from "./fold";
import { threads } from "./threads";

const call = (n: number, name: string, input: Record<string, unknown>, more = {}) =>
  ({ kind: "tool", id: `sevt_${n}`, seq: n, at: `2026-01-01T00:00:0${n}Z`, origin: "builtin", name, input, status: "done", ...more }) as Item;
const mail = (n: number, from: string, message: string, thread: string) =>
  ({ kind: "mail", id: `sevt_${n}`, seq: n, at: `2026-01-01T00:00:0${n}Z`, text: "", blocks: [], from, subject: "Re", message, thread }) as Item;

test("what was sent and what came in answer are one thread", () => {
  const found = threads([
    call(1, "send_message", { to: "agent/reviewer", subject: "Look", content: "?" }),
    call(2, "delegate_task", { to: "agent/tester", prompt: "Run all\ntests" }),
    mail(3, "session/sesn_9", "msg_77", "msg_1"),
    call(4, "send_message", { to: "session/sesn_9", in_reply_to: "msg_77", content: "thanks" }),
    call(5, "send_message", { to: "queue/builds", content: "refused" }, { isError: true }),
    call(6, "bash", { to: "nobody" }),
  ]);
  expect(found.map(({ id, items, task, subject }) => ({ id, items, task, subject }))).toEqual([
    { id: "msg_1", items: ["sevt_1", "sevt_3", "sevt_4"], task: false, subject: "Look" },
    { id: "msg_2", items: ["sevt_2"], task: true, subject: "Run all" },
  ]);
  expect(found[0]).toMatchObject({ with: "session/sesn_9", message: "msg_4" });
});

test("a session that nobody writes to has none", () => {
  expect(threads([])).toEqual([]);
  expect(threads([call(1, "send_message", { to: 7 })])).toEqual([]);
});
