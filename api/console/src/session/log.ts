// One session's log while it is looked at: its end first, then what came before, then what comes; and the conversation folded
// from it. Told to React once per frame, however fast tokens arrive.
import { useEffect, useState, useSyncExternalStore } from "react";
import type { Event, Payload } from "../api/model";
import type { LogPage } from "../api/schema";
import { ahead, newest } from "../lib/ahead";
import { get, ROOT } from "../lib/http";
import { follow, type Frame, type Health, type Stream } from "../lib/sse";
import { Fold, type Item, type Message } from "../transcript/fold";

const PAGE = 1000;
/** Events kept; of a longer log the end is shown, and what came before on request. */
const MOST = 40_000;

export interface View {
  items: Item[];
  events: Event[];
  fold: Fold;
  /** Nothing is known yet. */
  loading: boolean;
  /** The log has events before those that are here. */
  earlier: boolean;
  health: Health;
  problem?: unknown;
}

function events(page: LogPage): Event[] {
  return page.data.map((raw) => {
    const { seq, created_at, turn, actor, payload } = raw as { seq: number; created_at: string; turn: number; actor?: string; payload: Payload };
    return { seq, at: created_at, turn, actor: actor ?? null, payload };
  });
}

export class SessionLog {
  private events: Event[] = [];
  private fold = new Fold();
  private previews = new Map<string, Message>();
  /** Which call prints, by the preview of its result. */
  private printing = new Map<string, string>();
  private listeners = new Set<() => void>();
  private stream: Stream | undefined;
  private frame = 0;
  private closed = false;
  private control = new AbortController();
  private allowed = MOST;
  view: View = { items: [], events: [], fold: this.fold, loading: true, earlier: false, health: "connecting" };

  constructor(readonly id: string) {}

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  async open() {
    try {
      await this.end();
      if (this.closed) return;
      this.publish({ loading: false, problem: undefined });
      this.listen();
      await this.backfill();
    } catch (problem) {
      if (this.closed) return;
      this.publish({ problem, loading: false });
    }
  }

  close() {
    this.closed = true;
    this.control.abort();
    this.stream?.close();
    cancelAnimationFrame(this.frame);
  }

  /** Reads what the bound left out. */
  async more() {
    this.allowed += MOST;
    await this.backfill();
  }

  /** The newest events; a page may be shorter than asked. */
  private async end() {
    let page = await ahead<LogPage>(newest(this.id), this.control.signal);
    for (;;) {
      for (const event of events(page)) this.append(event);
      if (page.next_after == null || this.closed) return;
      page = await get<LogPage>(`/sessions/${this.id}/log?after=${page.next_after}&limit=${PAGE}`, this.control.signal);
    }
  }

  private async page(after: number, limit: number): Promise<Event[]> {
    return events(await get<LogPage>(`/sessions/${this.id}/log?after=${after}&limit=${limit}`, this.control.signal));
  }

  /** Events after one number, up to another; a page may be shorter than asked. */
  private async range(after: number, upTo: number): Promise<Event[]> {
    const found: Event[] = [];
    while (after < upTo && !this.closed) {
      const page = await this.page(after, Math.min(PAGE, upTo - after));
      if (page.length === 0) break;
      found.push(...page);
      after = page.at(-1)?.seq ?? upTo;
    }
    return found;
  }

  private async backfill() {
    const first = this.events[0]?.seq ?? 1;
    const from = Math.max(0, (this.events.at(-1)?.seq ?? 0) - this.allowed);
    if (from < first - 1) {
      const before = await this.range(from, first - 1);
      if (this.closed) return;
      this.rebuild([...before, ...this.events]);
    }
    this.publish();
  }

  private rebuild(events: Event[]) {
    const before = this.fold;
    this.events = events;
    this.fold = new Fold();
    for (const event of events) this.fold.push(event);
    for (const tool of before.tools.values()) if (tool.live) this.fold.prints(tool.id, tool.live);
  }

  private append(event: Event) {
    const last = this.events.at(-1)?.seq ?? 0;
    if (event.seq <= last) return;
    this.events.push(event);
    this.fold.push(event);
    this.previews.delete(event.payload.id);
    if (event.payload.type === "span.model_request_end") this.previews.clear();
    if (this.events.length > this.allowed + MOST / 2) this.rebuild(this.events.slice(-this.allowed));
  }

  private listen() {
    const deltas = ["agent.message", "agent.thinking", "agent.tool_result"].map((type) => `event_deltas[]=${type}`).join("&");
    this.stream = follow({
      after: String(this.events.at(-1)?.seq ?? 0),
      url: (after) => `${ROOT}/sessions/${this.id}/events/stream?include=extensions&${deltas}&after=${after ?? 0}`,
      onHealth: (health, problem) => {
        if (health === "reconnecting") {
          this.previews.clear();
          this.printing.clear();
        }
        this.publish({ health, ...(problem ? { problem: new Error(problem) } : {}) });
      },
      onFrames: (frames) => {
        for (const frame of frames) this.take(frame);
        this.soon();
      },
    });
  }

  private take(frame: Frame) {
    const data = JSON.parse(frame.data) as Payload & { event?: Payload; event_id?: string; delta?: { content?: { text?: string } } };
    if (frame.event === "event_start" && data.event?.type === "agent.tool_result") {
      this.printing.set(data.event.id, String(data.event.tool_use_id));
    } else if (frame.event === "event_delta" && this.printing.has(data.event_id ?? "")) {
      this.fold.prints(this.printing.get(data.event_id ?? "") ?? "", data.delta?.content?.text ?? "");
    } else if (frame.event === "event_start" && data.event) {
      const kind = data.event.type === "agent.thinking" ? "thinking" : "agent";
      const at = new Date().toISOString();
      this.previews.set(data.event.id, { kind, id: data.event.id, seq: 0, at, text: "", blocks: [], streaming: true });
    } else if (frame.event === "event_delta" && data.event_id) {
      const shown = this.previews.get(data.event_id);
      if (shown) this.previews.set(data.event_id, { ...shown, text: shown.text + (data.delta?.content?.text ?? "") });
    } else if (frame.id !== undefined) {
      const event: Event = { seq: Number(frame.id), at: data.processed_at ?? new Date().toISOString(), payload: data };
      this.append(event);
      if (data.type === "user.tool_confirmation") void this.attribute(event);
    }
  }

  /** Who answered a call is in the log's envelope only. */
  private async attribute(event: Event) {
    const [stored] = await this.page(event.seq - 1, 1).catch(() => []);
    if (!stored?.actor || this.closed) return;
    event.actor = stored.actor;
    this.fold.attribute(stored.payload.id, stored.actor);
    this.soon();
  }

  private soon() {
    if (this.frame) return;
    const tell = () => {
      this.frame = 0;
      this.publish();
    };
    if (document.hidden) this.frame = setTimeout(tell, 500) as unknown as number;
    else this.frame = requestAnimationFrame(tell);
  }

  private publish(change: Partial<View> = {}) {
    const items: Item[] = [...this.fold.items, ...this.previews.values()];
    // Whoever comes in the middle of an answer gets no pieces of it: that something is written is told all the same.
    if (this.previews.size === 0 && this.fold.asking) items.push({ kind: "thinking", id: "asking", seq: 0, at: this.fold.asking, text: "", blocks: [], streaming: true });
    const earlier = (this.events[0]?.seq ?? 1) > 1;
    this.view = { ...this.view, items, events: this.events, fold: this.fold, earlier, ...change };
    for (const listener of this.listeners) listener();
  }
}

const NONE: View = { items: [], events: [], fold: new Fold(), loading: true, earlier: false, health: "connecting" };

export function useSessionLog(id: string): [View, SessionLog | undefined] {
  const [log, setLog] = useState<SessionLog>();
  useEffect(() => {
    const fresh = new SessionLog(id);
    setLog(fresh);
    void fresh.open();
    return () => fresh.close();
  }, [id]);
  const current = log?.id === id ? log : undefined;
  const view = useSyncExternalStore(current?.subscribe ?? (() => () => {}), () => current?.view ?? NONE);
  return [view, current];
}
