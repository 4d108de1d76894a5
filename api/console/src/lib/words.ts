// What a session is doing, in words.
import type { Session } from "../api/model";
import { plural } from "./format";

export type Tone = "quiet" | "busy" | "ask" | "bad" | "good";

export interface State {
  key: "running" | "waiting" | "failed" | "budget" | "rescheduling" | "idle" | "new" | "archived" | "terminated";
  label: string;
  tone: Tone;
  /** A sentence for lists. */
  words: string;
}

export function state(session: Session): State {
  const extra = session.perennial;
  const turn = extra?.turn ?? 0;
  if (session.archived_at) return { key: "archived", label: "Archived", tone: "quiet", words: `Archived after ${plural(turn, "turn")}` };
  if (extra?.quarantined) {
    return { key: "failed", label: "Quarantined", tone: "bad", words: "Gave up after repeated crashes; retry when the cause is gone" };
  }
  if (session.status === "terminated") return { key: "terminated", label: "Ended", tone: "quiet", words: "Ended for good" };
  if (session.status === "rescheduling") {
    return { key: "rescheduling", label: "Retrying", tone: "ask", words: `Lost its worker; tries again (attempt ${(extra?.attempts ?? 0) + 1})` };
  }
  if (session.status === "running") return { key: "running", label: "Running", tone: "busy", words: `Works on turn ${Math.max(1, turn)}` };
  const stop = extra?.stop_reason;
  switch (stop?.type) {
    case "requires_action": {
      const n = stop.event_ids.length;
      return { key: "waiting", label: "Needs you", tone: "ask", words: `Waits for an answer to ${plural(n, "call")}` };
    }
    case "retries_exhausted":
      return { key: "failed", label: "Failed", tone: "bad", words: `Turn ${turn} failed` };
    case "budget_reached":
      return { key: "budget", label: "Over budget", tone: "ask", words: `Rests: its budget is used up` };
    case "refusal":
      return { key: "failed", label: "Refused", tone: "bad", words: "The model refused to go on" };
    case "end_turn":
      return { key: "idle", label: "Idle", tone: "good", words: `Finished turn ${turn}` };
    default:
      return { key: "new", label: "New", tone: "quiet", words: "Not started" };
  }
}

/** What happened last, as a person would say it. */
export function last(session: Session): string | undefined {
  const event = session.perennial?.last_event;
  if (!event) return undefined;
  const { type, name = "", text = "" } = event;
  const after = (words: string) => (text ? `${words}: ${text}` : words);
  switch (type) {
    case "user.message":
      return after("You");
    case "user.define_outcome":
      return after("Wanted");
    case "user.interrupt":
      return "Interrupted";
    case "user.tool_confirmation":
      return text === "deny" ? "A call was denied" : "A call was allowed";
    case "agent.message":
      return text || "Answered";
    case "agent.tool_use":
    case "agent.mcp_tool_use":
    case "agent.custom_tool_use":
      return after(name);
    case "agent.tool_result":
    case "agent.mcp_tool_result":
    case "user.tool_result":
    case "user.custom_tool_result":
      return after(event.is_error ? "Failed" : "Result");
    case "session.error":
      return after("Error");
    case "mail.received":
      return after(`Mail from ${name}`);
    case "session.forked":
      return "Forked from another session";
    case "session.imported":
      return "Imported";
    case "context.compacted":
      return "Older events were summed up";
    default:
      return undefined;
  }
}

/** The line of a list, beside the state: what is asked of somebody, or what happened last. */
export function line(session: Session): string {
  const { key, words } = state(session);
  const happened = last(session);
  if (!happened || key === "budget" || key === "rescheduling" || session.perennial?.quarantined) return words;
  if (key !== "waiting") return happened;
  const stop = session.perennial?.stop_reason;
  const calls = stop?.type === "requires_action" ? stop.event_ids.length : 0;
  return calls === 1 && session.perennial?.last_event?.type.endsWith("tool_use") ? `May it run ${happened}?` : words;
}

export const harness = (session: { agent: { harness?: string | null } }) => session.agent.harness ?? "native";
export const title = (session: Session) => session.title || "Untitled session";
export const tokens = (session: Session) => {
  const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation } = session.usage;
  const written = (cache_creation?.ephemeral_5m_input_tokens ?? 0) + (cache_creation?.ephemeral_1h_input_tokens ?? 0);
  return input_tokens + output_tokens + cache_read_input_tokens + written;
};
