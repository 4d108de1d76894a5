import { expect, test } from "vitest";
import type { Session } from "../api/model";
import type { Environment, Executor } from "../api/schema";
import type { Item } from "../transcript/fold";
import { machines } from "./machines";

const executor = (id: string) => ({ id, name: id }) as Executor;
const known = ["laptop", "server", "sandbox", "stranger"].map(executor);
const session = { agent: { executors: [{ executor_id: "server", name: "server" }] } } as Session;
const place = { config: { type: "local", executor_id: "laptop" } } as unknown as Environment;
const call = (executor: string) => ({ kind: "tool", executor }) as Item;
const ids = (items: Item[]) => machines(session, place, known, items).map((one) => one.id);

test("the machine that was used last comes first, then those that are named", () => {
  expect(ids([])).toEqual(["laptop", "server"]);
  expect(ids([call("laptop"), call("server"), call("sandbox"), call("sandbox")])).toEqual(["sandbox", "server", "laptop"]);
});

test("what is no machine of the registry is none", () => {
  expect(ids([call("the server's own folder")])).toEqual(["laptop", "server"]);
  expect(machines({ agent: {} } as Session, undefined, known, [])).toEqual([]);
});
