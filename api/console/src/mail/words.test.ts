import { expect, test } from "vitest";
import type { Session } from "../api/model";
import type { Mail } from "../api/schema";
import { address, called, fate, threads } from "./words";

test("addresses are told from other senders", () => {
  expect(address("agent/reviewer")).toEqual({ kind: "agent", name: "reviewer" });
  expect(address("queue/build-1.x")).toEqual({ kind: "queue", name: "build-1.x" });
  for (const other of ["postmaster", "key/key_1", "agent/", "agent/a/b", "agent/../x", undefined, null]) expect(address(other)).toBeUndefined();
});

test("people get names, and nobody another's", () => {
  const session = { id: "sesn_1", title: "Fix it" } as Session;
  const sessions = (id: string) => (id === session.id ? session : undefined);
  expect(["agent/reviewer", "session/sesn_1", "session/sesn_000002", "postmaster", "key/mine", "key/key_123456"].map((one) => called(one, sessions, "mine"))).toEqual([
    "reviewer", "Fix it", "Session …000002", "Postmaster", "You", "Key …123456",
  ]);
});

test("what waits for its time is not what waits", () => {
  const mail = { state: "queued", mailbox: "queue/a", deliver_at: new Date(2_000).toISOString() };
  expect([fate(mail, 1_000).label, fate(mail, 3_000).label]).toEqual(["Goes out later", "Waits"]);
});

test("messages become threads in the order of their newest", () => {
  const mail = [["3", "b"], ["2", "a"], ["1", "b"]].map(([id, thread]) => ({ id, thread }) as Mail);
  expect(threads(mail).map((one) => [one.id, one.mail.map((two) => two.id)])).toEqual([["b", ["3", "1"]], ["a", ["2"]]]);
});
