import { expect, test } from "vitest";
import type { LastEvent, Session } from "../api/model";
import { last, line } from "./words";

const session = (last_event?: LastEvent, more: Record<string, unknown> = {}) =>
  ({ status: "running", perennial: { turn: 2, head: 9, quarantined: false, attempts: 0, last_event }, ...more }) as unknown as Session;

test("what happened last is said in words", () => {
  expect(last(session())).toBeUndefined();
  expect(last(session({ type: "user.message", text: "fix it" }))).toBe("You: fix it");
  expect(last(session({ type: "agent.message", text: "Done." }))).toBe("Done.");
  expect(last(session({ type: "agent.tool_use", name: "bash", text: "cargo test" }))).toBe("bash: cargo test");
  expect(last(session({ type: "agent.tool_use", name: "list_agents" }))).toBe("list_agents");
  expect(last(session({ type: "agent.tool_result", text: "exit code 1", is_error: true }))).toBe("Failed: exit code 1");
  expect(last(session({ type: "mail.received", name: "agent/writer", text: "Please look" }))).toBe("Mail from agent/writer: Please look");
  expect(last(session({ type: "user.tool_confirmation", text: "deny" }))).toBe("A call was denied");
  expect(last(session({ type: "of.a.later.release", text: "?" }))).toBeUndefined();
});

test("a list says first what somebody has to know", () => {
  const said = { type: "agent.tool_use", name: "bash", text: "rm -rf old" };
  expect(line(session(said))).toBe("bash: rm -rf old");
  expect(line(session())).toBe("Works on turn 2");
  const asks = { status: "idle", perennial: { turn: 1, stop_reason: { type: "requires_action", event_ids: ["a"] }, last_event: said } };
  expect(line(session(undefined, asks))).toBe("May it run bash: rm -rf old?");
  asks.perennial.stop_reason.event_ids.push("b");
  expect(line(session(undefined, asks))).toBe("Waits for an answer to 2 calls");
  const failed = { status: "idle", perennial: { turn: 1, stop_reason: { type: "retries_exhausted" }, last_event: { type: "session.error", text: "overloaded" } } };
  expect(line(session(undefined, failed))).toBe("Error: overloaded");
});
