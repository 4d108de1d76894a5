// Events into a conversation: messages, thoughts, tool cards and notices, in the order they happened. A pure function of the
// log's prefix; previews of unfinished messages are laid on top and replaced by the events they become.
import type { Block, Event, Payload, StopReason } from "../api/model";

export type ToolStatus = "asks" | "queued" | "running" | "done" | "failed" | "denied";

export interface Message {
  kind: "user" | "agent" | "thinking" | "operator" | "mail";
  id: string;
  seq: number;
  at: string;
  text: string;
  blocks: Block[];
  actor?: string | null | undefined;
  /** Not yet read by the model. */
  queued?: boolean;
  streaming?: boolean;
  /** Of mail. */
  from?: string;
  subject?: string;
  message?: string;
  thread?: string;
}

export interface Tool {
  kind: "tool";
  id: string;
  seq: number;
  at: string;
  origin: "builtin" | "mcp" | "custom";
  server?: string;
  name: string;
  input: Record<string, unknown>;
  status: ToolStatus;
  result?: Block[];
  /** The end of what it has printed so far, while it runs. */
  live?: string | undefined;
  isError?: boolean;
  executor?: string;
  attempt?: number;
  dispatchedAt?: string;
  endedAt?: string;
  /** Who allowed or denied it, and when. */
  verdict?: { result: string; actor?: string | null | undefined; at: string; message?: string };
}

export interface Notice {
  kind: "notice";
  id: string;
  seq: number;
  at: string;
  tone: "quiet" | "warn" | "bad";
  text: string;
  detail?: string;
  link?: string;
}

export interface TurnEnd {
  kind: "end";
  id: string;
  seq: number;
  at: string;
  reason: StopReason["type"];
  ms: number;
  input: number;
  output: number;
  requests: number;
}

export type Item = Message | Tool | Notice | TurnEnd;

export interface ToolCount {
  name: string;
  calls: number;
  failures: number;
  ms: number[];
}

export interface Transcript {
  items: Item[];
  /** Grows with every change. */
  version: number;
}

export const text = (blocks: Block[] | undefined) =>
  (blocks ?? []).filter((block) => block.type === "text").map((block) => block.text ?? "").join("");

const ENDS: Record<string, string> = {
  native: "our own loop",
};

/** Of what a running call prints this much is kept, in characters; its result is whole. */
const LIVE = 64 * 1024;

/** Folds events one after the other. */
export class Fold {
  items: Item[] = [];
  tools = new Map<string, Tool>();
  private inputs = new Map<string, Message>();
  private at = new Map<string, number>();
  private began = "";
  /** Since when a model is being asked; empty when none is. */
  asking = "";
  private turn = { input: 0, output: 0, requests: 0 };
  private interrupted = false;
  /** The newest notice of a model request without an answer. */
  private givenUp = "";
  version = 0;
  seq = 0;

  /** Where an event is shown; an event that shows nothing itself is shown by what it belongs to. */
  place(event: string): number | undefined {
    return this.at.get(event);
  }

  private add(item: Item) {
    this.at.set(item.id, this.items.length);
    this.items.push(item);
  }

  /** Items are replaced, never changed: who shows one sees by identity whether it must show it again. */
  private update<T extends Item>(id: string, change: Partial<T>) {
    const at = this.at.get(id);
    if (at === undefined) return;
    const item = { ...this.items[at], ...change } as Item;
    this.items[at] = item;
    if (item.kind === "tool") this.tools.set(item.id, item);
    else if (item.kind !== "notice" && item.kind !== "end" && this.inputs.has(id)) this.inputs.set(id, item);
  }

  private notice(event: Event, tone: Notice["tone"], words: string, more: Partial<Notice> = {}) {
    this.add({ kind: "notice", id: event.payload.id, seq: event.seq, at: event.at, tone, text: words, ...more });
  }

  private message(event: Event, kind: Message["kind"], more: Partial<Message> = {}) {
    const { payload } = event;
    this.add({
      kind,
      id: payload.id,
      seq: event.seq,
      at: event.at,
      text: text(payload.content),
      blocks: payload.content ?? [],
      actor: event.actor,
      ...more,
    });
  }

  /** Streams do not say who sent an input; who knows it later says so here. */
  attribute(event: string, actor: string) {
    const item = this.items[this.at.get(event) ?? -1];
    if (item?.kind === "tool" && item.verdict) this.update<Tool>(item.id, { verdict: { ...item.verdict, actor } });
    else if (item && "blocks" in item) this.update<Message>(item.id, { actor });
    this.version += 1;
  }

  /** What a running call prints is in no log: its result takes the place of it. */
  prints(call: string, text: string) {
    const tool = this.tools.get(call);
    if (!tool || tool.result) return;
    this.update<Tool>(call, { live: ((tool.live ?? "") + text).slice(-LIVE) });
    this.version += 1;
  }

  push(event: Event) {
    if (event.seq <= this.seq) return;
    this.seq = event.seq;
    this.version += 1;
    const { payload } = event;
    switch (payload.type) {
      case "user.message":
      case "system.message":
      case "user.define_outcome":
      case "mail.received": {
        const kind = payload.type === "user.message" ? "user" : payload.type === "mail.received" ? "mail" : "operator";
        const queued = payload.processed_at == null;
        const words = payload.type === "user.define_outcome" ? { text: String(payload.description ?? "") } : {};
        const mail = kind === "mail" ? { from: String(payload.from), subject: String(payload.subject ?? ""), message: String(payload.message_id), thread: String(payload.thread ?? "") } : {};
        this.message(event, kind, { queued, ...mail, ...words });
        this.inputs.set(payload.id, this.items.at(-1) as Message);
        break;
      }
      case "input.processed":
        for (const id of (payload.event_ids as string[]) ?? []) {
          if (this.inputs.has(id)) this.update<Message>(id, { queued: false });
          this.inputs.delete(id);
        }
        break;
      case "agent.message":
        this.message(event, "agent");
        break;
      case "agent.thinking":
        this.message(event, "thinking");
        break;
      case "agent.tool_use":
      case "agent.mcp_tool_use":
      case "agent.custom_tool_use":
        this.call(event);
        break;
      case "tool.dispatched":
        this.dispatched(event);
        break;
      case "agent.tool_result":
      case "agent.mcp_tool_result":
      case "user.tool_result":
      case "user.custom_tool_result":
        this.result(event);
        break;
      case "user.tool_confirmation":
        this.verdict(event);
        break;
      case "user.interrupt":
        this.interrupted = true;
        this.notice(event, "warn", "Interrupted");
        break;
      case "session.status_running":
        this.began = event.at;
        this.turn = { input: 0, output: 0, requests: 0 };
        this.interrupted = false;
        break;
      case "session.status_idle":
        this.rest(event);
        break;
      case "session.status_rescheduled":
        this.asking = "";
        this.notice(event, "warn", "The worker of this turn was lost; another one goes on from the log");
        break;
      case "session.status_terminated":
        this.notice(event, "quiet", "The session has ended");
        break;
      case "session.error": {
        const error = payload.error as { type?: string; message?: string; retry_status?: { type?: string } } | undefined;
        const again = error?.retry_status?.type === "retrying";
        // The error says why the request before it was given up.
        if (this.items.at(-1)?.id === this.givenUp) this.items.pop();
        this.notice(event, again ? "warn" : "bad", error?.message ?? "An error", {
          detail: again ? "It is tried again." : (error?.type ?? "").replaceAll("_", " "),
        });
        break;
      }
      case "span.model_request_start":
        this.asking = event.at;
        break;
      case "span.model_request_end":
        this.requested(event);
        break;
      case "context.compacted":
        this.notice(event, "quiet", "Older events were summed up for the model", { detail: payload.summary as string });
        break;
      case "session.forked":
        this.notice(event, "quiet", `Forked here, from event ${String(payload.at_seq)} of another session`, {
          link: payload.from_session as string,
          detail: payload.workspace ? `Files: ${String(payload.workspace)}` : "",
        });
        break;
      case "session.imported":
        this.notice(event, "quiet", "Imported");
        break;
      case "harness.changed":
        this.notice(event, "quiet", `Handed over from ${brain(payload.from)} to ${brain(payload.to)}`, {
          detail: Number(payload.dropped) > 0 ? `${String(payload.dropped)} blocks could not come along` : "",
        });
        break;
      case "budget.warning": {
        const share = Math.round((100 * Number(payload.used)) / Math.max(1, Number(payload.limit)));
        this.notice(event, "warn", `${share} % of a budget is used (${String(payload.metric)}, ${String(payload.scope)})`);
        break;
      }
      case "session.updated":
        if (payload.agent) this.notice(event, "quiet", "The agent of this session was changed");
        break;
      default:
        break;
    }
  }

  private call(event: Event) {
    const payload = event.payload as Payload & { evaluated_permission?: string; mcp_server_name?: string };
    const origin = payload.type === "agent.tool_use" ? "builtin" : payload.type === "agent.mcp_tool_use" ? "mcp" : "custom";
    const tool: Tool = {
      kind: "tool",
      id: payload.id,
      seq: event.seq,
      at: event.at,
      origin,
      name: payload.name ?? "tool",
      input: payload.input ?? {},
      status: payload.evaluated_permission === "ask" || origin === "custom" ? "asks" : "queued",
    };
    if (payload.mcp_server_name) tool.server = payload.mcp_server_name;
    this.add(tool);
    this.tools.set(tool.id, tool);
  }

  private dispatched(event: Event) {
    const { tool_use_id, executor_id, attempt } = event.payload as Payload & { tool_use_id?: string; executor_id?: string; attempt?: number };
    const tool = this.tools.get(tool_use_id ?? "");
    if (!tool) return;
    this.at.set(event.payload.id, this.at.get(tool.id) ?? 0);
    this.update<Tool>(tool.id, { status: "running", executor: executor_id ?? "", attempt: attempt ?? 1, dispatchedAt: tool.dispatchedAt ?? event.at });
  }

  private result(event: Event) {
    const payload = event.payload as Payload & Record<string, string>;
    const tool = this.tools.get(payload.tool_use_id ?? payload.mcp_tool_use_id ?? payload.custom_tool_use_id ?? "");
    if (!tool) return;
    this.at.set(payload.id, this.at.get(tool.id) ?? 0);
    const isError = event.payload.is_error === true;
    const status = tool.verdict?.result === "deny" ? "denied" : isError ? "failed" : "done";
    this.update<Tool>(tool.id, { status, isError, result: event.payload.content ?? [], live: undefined, endedAt: event.at });
  }

  private verdict(event: Event) {
    const { tool_use_id, result, deny_message } = event.payload as Payload & Record<string, string>;
    const tool = this.tools.get(tool_use_id ?? "");
    if (!tool) return;
    this.at.set(event.payload.id, this.at.get(tool.id) ?? 0);
    const verdict = { result: result ?? "", actor: event.actor, at: event.at, ...(deny_message ? { message: deny_message } : {}) };
    this.update<Tool>(tool.id, { verdict, status: result === "deny" ? "denied" : "queued" });
  }

  private requested(event: Event) {
    this.asking = "";
    const usage = event.payload.model_usage as Record<string, number> | undefined;
    this.turn.requests += 1;
    this.turn.input += (usage?.input_tokens ?? 0) + (usage?.cache_read_input_tokens ?? 0) + (usage?.cache_creation_input_tokens ?? 0);
    this.turn.output += usage?.output_tokens ?? 0;
    if (event.payload.is_error === true && !this.interrupted) {
      this.givenUp = event.payload.id;
      this.notice(event, "quiet", "A model request was given up; what it had said is not part of the conversation");
    }
  }

  private rest(event: Event) {
    this.asking = "";
    this.interrupted = false;
    const reason = (event.payload.stop_reason as StopReason | undefined)?.type ?? "end_turn";
    const ms = this.began ? Date.parse(event.at) - Date.parse(this.began) : 0;
    this.add({ kind: "end", id: event.payload.id, seq: event.seq, at: event.at, reason, ms, ...this.turn });
  }
}

const brain = (name: unknown) => ENDS[String(name)] ?? String(name);

/** How often each tool was called, how often it failed and how long it took. */
export function statistics(items: Item[]): ToolCount[] {
  const counts = new Map<string, ToolCount>();
  for (const item of items) {
    if (item.kind !== "tool") continue;
    const name = item.server ? `${item.server} · ${item.name}` : item.name;
    const found = counts.get(name) ?? { name, calls: 0, failures: 0, ms: [] };
    found.calls += 1;
    if (item.isError) found.failures += 1;
    if (item.endedAt && item.dispatchedAt) found.ms.push(Date.parse(item.endedAt) - Date.parse(item.dispatchedAt));
    counts.set(name, found);
  }
  return [...counts.values()].sort((a, b) => b.calls - a.calls);
}

export function median(values: number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
