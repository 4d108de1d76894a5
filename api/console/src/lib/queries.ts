// What views ask the API for, with one name for each question.
import { queryOptions } from "@tanstack/react-query";
import type { Approval } from "../api/model";
import type { Agent, Budget, Environment, Executor, GatewayKey, Scaling, TracePage, UsagePage, UsageSum, Worker } from "../api/schema";
import { all, ask, get } from "./http";

export interface Login {
  workspace_id: string;
  key_id: string;
  version: string;
  default_model: string;
}

export const login = queryOptions({
  queryKey: ["login"],
  queryFn: async ({ signal }) => (await ask("GET", "/console/login", undefined, signal)).json() as Promise<Login>,
  staleTime: Number.POSITIVE_INFINITY,
  retry: false,
});

/** What the server was started with. */
export interface ServerSettings extends Login {
  /** None of a process that asks no models itself. */
  providers: { name: string; wire: "messages" | "responses" | "chat"; key: "set" | "missing" | "not_needed"; setting?: string; models: string[] | null }[] | null;
  /** US dollars for a million tokens. */
  prices: { model: string; input: number; output: number; cache_read: number; cache_write: number }[];
}

export const settings = queryOptions({
  queryKey: ["settings"],
  queryFn: async ({ signal }) => (await ask("GET", "/console/settings", undefined, signal)).json() as Promise<ServerSettings>,
});

export const agents = (archived = false) =>
  queryOptions({ queryKey: ["agents", archived], queryFn: ({ signal }) => all<Agent>(`/agents${archived ? "?include_archived=true" : ""}`, signal) });
export const agent = (id: string) => queryOptions({ queryKey: ["agent", id], queryFn: ({ signal }) => get<Agent>(`/agents/${id}`, signal) });
export const versions = (id: string) => queryOptions({ queryKey: ["versions", id], queryFn: ({ signal }) => all<Agent>(`/agents/${id}/versions`, signal) });
export const environments = (archived = false) =>
  queryOptions({ queryKey: ["environments", archived], queryFn: ({ signal }) => all<Environment>(`/environments${archived ? "?include_archived=true" : ""}`, signal) });
export const executors = queryOptions({ queryKey: ["executors"], queryFn: ({ signal }) => all<Executor>("/executors", signal), refetchInterval: 3000 });
export const executor = (id: string) => queryOptions({ queryKey: ["executor", id], queryFn: ({ signal }) => get<Executor>(`/executors/${id}`, signal), refetchInterval: 3000 });
export const workers = queryOptions({ queryKey: ["workers"], queryFn: ({ signal }) => all<Worker>("/workers", signal), refetchInterval: 3000 });
export const scaling = queryOptions({ queryKey: ["scaling"], queryFn: ({ signal }) => get<Scaling>("/scaling/default", signal), refetchInterval: 3000 });
export const approvals = queryOptions({ queryKey: ["approvals"], queryFn: ({ signal }) => all<Approval>("/approvals", signal) });
export const budgets = queryOptions({ queryKey: ["budgets"], queryFn: ({ signal }) => all<Budget>("/budgets", signal), refetchInterval: 5000 });
export const gatewayKeys = queryOptions({ queryKey: ["keys"], queryFn: ({ signal }) => all<GatewayKey>("/gateway_keys", signal) });

export const usage = (by: string, from: string, to: string) =>
  queryOptions({
    queryKey: ["usage", by, from, to],
    queryFn: async ({ signal }) => {
      const query = new URLSearchParams({ group_by: by });
      if (from) query.set("from", from);
      if (to) query.set("to", to);
      return ((await get<UsagePage>(`/usage?${query}`, signal)).data as UsageSum[]) ?? [];
    },
    refetchInterval: 15_000,
  });

export const costs = queryOptions({
  ...usage("session", "", ""),
  queryKey: ["usage", "session", "", ""],
  select: (sums: UsageSum[]) => new Map(sums.map((sum) => [sum.group ?? "", sum.cost_microusd])),
});

export const requests = (session: string) =>
  queryOptions({ queryKey: ["requests", session], queryFn: ({ signal }) => get<TracePage>(`/usage/requests?session_id=${session}&limit=20`, signal) });
