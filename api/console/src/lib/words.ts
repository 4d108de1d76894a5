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

export const harness = (session: { agent: { harness?: string | null } }) => session.agent.harness ?? "native";
export const title = (session: Session) => session.title || "Untitled session";
export const tokens = (session: Session) => {
  const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation } = session.usage;
  const written = (cache_creation?.ephemeral_5m_input_tokens ?? 0) + (cache_creation?.ephemeral_1h_input_tokens ?? 0);
  return input_tokens + output_tokens + cache_read_input_tokens + written;
};
