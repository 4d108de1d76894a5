import { expect, test } from "vitest";
import type { Event, Payload } from "../api/model";
import { Fold, median, statistics, type Tool } from "./fold";

let at = 0;
function log(...payloads: Partial<Payload>[]): Event[] {
  return payloads.map((payload, index) => ({
    seq: index + 1,
    at: new Date(1_000 * ++at).toISOString(),
    payload: { type: "", id: `sevt_${index + 1}`, ...payload } as Payload,
  }));
}
function fold(events: Event[]) {
  const folded = new Fold();
  for (const event of events) folded.push(event);
  return folded;
}
const say = (text: string) => [{ type: "text", text }];

test("a call goes from asked to dispatched to done, and its other events lead to its card", () => {
  const events = log(
    { type: "user.message", content: say("go"), processed_at: null },
    { type: "session.status_running" },
    { type: "input.processed", event_ids: ["sevt_1"] },
    { type: "agent.tool_use", name: "bash", input: { command: "ls" }, evaluated_permission: "ask" },
    { type: "user.tool_confirmation", tool_use_id: "sevt_4", result: "allow" },
    { type: "tool.dispatched", tool_use_id: "sevt_4", executor_id: "exec_1", attempt: 1 },
    { type: "agent.tool_result", tool_use_id: "sevt_4", content: say("a.txt"), is_error: false },
    { type: "span.model_request_end", model_usage: { input_tokens: 5, output_tokens: 2 } },
    { type: "session.status_idle", stop_reason: { type: "end_turn" } },
  );
  const statuses = [4, 5, 6, 7].map((n) => (fold(events.slice(0, n)).items[1] as Tool).status);
  expect(statuses).toEqual(["asks", "queued", "running", "done"]);
  const folded = fold(events);
  expect(folded.items.map((item) => item.kind)).toEqual(["user", "tool", "end"]);
  expect(folded.items[0]).toMatchObject({ queued: false, text: "go" });
  expect(folded.items[2]).toMatchObject({ reason: "end_turn", input: 5, output: 2, ms: 7000 });
  for (const id of ["sevt_4", "sevt_5", "sevt_6", "sevt_7"]) expect(folded.place(id)).toBe(1);
  expect(statistics(folded.items)).toEqual([{ name: "bash", calls: 1, failures: 0, ms: [1000] }]);
});

test("an event that comes twice changes nothing, and an unchanged item keeps its identity", () => {
  const events = log(
    { type: "agent.message", content: say("a") },
    { type: "agent.tool_use", name: "bash", input: {} },
    { type: "agent.tool_result", tool_use_id: "sevt_2", is_error: true, content: [] },
  );
  const folded = fold(events.slice(0, 2));
  const [message, tool] = folded.items;
  for (const event of events) folded.push(event);
  expect(folded.items).toHaveLength(2);
  expect(folded.items[0]).toBe(message);
  expect(folded.items[1]).not.toBe(tool);
  expect(folded.items[1]).toMatchObject({ status: "failed" });
});

test("who answered may be told later", () => {
  const folded = fold(
    log(
      { type: "agent.tool_use", name: "bash", input: {}, evaluated_permission: "ask" },
      { type: "user.tool_confirmation", tool_use_id: "sevt_1", result: "allow" },
    ),
  );
  folded.attribute("sevt_2", "key_1");
  expect(folded.items[0]).toMatchObject({ verdict: { actor: "key_1" } });
  folded.attribute("sevt_unknown", "key_1");
});

test("a denied call stays denied when its error result comes", () => {
  const folded = fold(
    log(
      { type: "agent.tool_use", name: "bash", input: {}, evaluated_permission: "ask" },
      { type: "user.tool_confirmation", tool_use_id: "sevt_1", result: "deny", deny_message: "no" },
      { type: "agent.tool_result", tool_use_id: "sevt_1", is_error: true, content: [] },
    ),
  );
  expect(folded.items[0]).toMatchObject({ status: "denied", verdict: { result: "deny", message: "no" } });
});

test("what a running call prints is shown until its result is there", () => {
  const events = log(
    { type: "agent.tool_use", name: "bash", input: {} },
    { type: "tool.dispatched", tool_use_id: "sevt_1" },
    { type: "agent.tool_result", tool_use_id: "sevt_1", content: say("all of it") },
  );
  const folded = fold(events.slice(0, 2));
  const before = folded.items[0];
  folded.prints("sevt_1", "one ");
  folded.prints("sevt_1", "two");
  folded.prints("sevt_unknown", "x");
  expect(folded.items[0]).toMatchObject({ live: "one two" });
  expect(folded.items[0]).not.toBe(before);
  folded.prints("sevt_1", "x".repeat(100_000));
  expect((folded.items[0] as Tool).live).toHaveLength(65_536);
  folded.push(events[2] as Event);
  folded.prints("sevt_1", "too late");
  expect((folded.items[0] as Tool).live).toBeUndefined();
});

test("restarts, hand-overs and events of the future neither break nor vanish", () => {
  const folded = fold(
    log(
      { type: "session.status_rescheduled" },
      { type: "harness.changed", from: "native", to: "codex", dropped: 0 },
      { type: "session.forked", from_session: "sesn_1", at_seq: 7, workspace: "copied" },
      { type: "some.future_event", anything: 1 },
      { type: "agent.tool_result", tool_use_id: "sevt_unknown", content: [] },
      { type: "session.error", error: { message: "no key", retry_status: { type: "exhausted" } } },
    ),
  );
  expect(folded.items.map((item) => (item.kind === "notice" ? item.tone : ""))).toEqual(["warn", "quiet", "quiet", "bad"]);
  expect(folded.seq).toBe(6);
});

test("that a model is being asked is known until it has answered or the turn is over", () => {
  const events = log(
    { type: "span.model_request_start" },
    { type: "span.model_request_end", model_usage: {} },
    { type: "span.model_request_start" },
    { type: "session.status_idle", stop_reason: { type: "end_turn" } },
  );
  expect([1, 2, 3, 4].map((n) => fold(events.slice(0, n)).asking !== "")).toEqual([true, false, true, false]);
});

test("one failure is told once: by its error, by who interrupted, or by itself", () => {
  const end = { type: "span.model_request_end", is_error: true, model_usage: {} };
  const told = (...payloads: Partial<Payload>[]) => fold(log(...payloads)).items.length;
  expect(told(end)).toBe(1);
  expect(told(end, { type: "session.error", error: { message: "no" } })).toBe(1);
  expect(told({ type: "user.interrupt" }, end)).toBe(1);
  expect(told({ type: "user.interrupt" }, end, { type: "session.status_running" }, end)).toBe(2);
});

test("the median of nothing is unknown", () => {
  expect(median([])).toBeUndefined();
  expect(median([3, 1, 2])).toBe(2);
});

test("a call of another server's tool names it, and is answered by its own events", () => {
  const folded = fold(log(
    { type: "agent.mcp_tool_use", name: "search", mcp_server_name: "wiki", input: { query: "leases" }, evaluated_permission: "allow" },
    { type: "agent.mcp_tool_result", mcp_tool_use_id: "sevt_1", content: say("found"), is_error: false },
  ));
  expect(folded.items[0]).toMatchObject({ kind: "tool", origin: "mcp", server: "wiki", name: "search", status: "done" });
  expect(folded.place("sevt_2")).toBe(0);
  expect(statistics(folded.items)).toMatchObject([{ name: "wiki · search", calls: 1, failures: 0 }]);
});

test("mail carries its thread, and a hand-over is told", () => {
  const folded = fold(log(
    { type: "mail.received", from: "agent/writer", message_id: "msg_2", thread: "msg_1", subject: "Re", content: say("hi"), processed_at: null },
    { type: "harness.changed", from: "native", to: "codex", dropped: 2 },
    { type: "session.status_rescheduled" },
  ));
  expect(folded.items[0]).toMatchObject({ kind: "mail", message: "msg_2", thread: "msg_1", queued: true });
  expect(folded.items[1]).toMatchObject({ kind: "notice", text: "Handed over from our own loop to codex" });
  expect(folded.items[2]).toMatchObject({ kind: "notice", tone: "warn" });
});
