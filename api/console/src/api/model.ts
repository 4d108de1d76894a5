// What the OpenAPI document leaves open, as the server writes it: agents inside sessions, stop reasons, and the events.
import type * as schema from "./schema";

export type StopReason =
  | { type: "end_turn" }
  | { type: "requires_action"; event_ids: string[] }
  | { type: "retries_exhausted" }
  | { type: "budget_reached" }
  | { type: "refusal" };

export interface AgentSnapshot {
  id: string;
  name: string;
  version: number;
  model: schema.Model;
  harness?: string | null;
  system?: string | null;
  tools: unknown[];
  mcp_servers: unknown[];
  /** Machines beside its environment. */
  executors?: { executor_id: string; name: string }[];
}

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation?: { ephemeral_5m_input_tokens: number; ephemeral_1h_input_tokens: number };
}

/** What happened last, in few words. */
export interface LastEvent {
  type: string;
  name?: string;
  text?: string;
  is_error?: boolean;
}

export interface Session extends Omit<schema.Session, "agent" | "usage" | "stats" | "perennial" | "status"> {
  status: "idle" | "running" | "rescheduling" | "terminated";
  agent: AgentSnapshot;
  usage: Usage;
  stats: { duration_seconds: number };
  perennial?: {
    stop_reason?: StopReason | null;
    turn: number;
    head: number;
    quarantined: boolean;
    attempts: number;
    budget_hold?: string;
    last_event?: LastEvent;
  };
}

export interface Block {
  type: string;
  text?: string;
  source?: { type: string; media_type?: string; data?: string; url?: string };
  [field: string]: unknown;
}

/** An event's payload: the fields its type has, and whatever else is in it. */
export interface Payload {
  type: string;
  id: string;
  processed_at?: string | null;
  content?: Block[];
  name?: string;
  input?: Record<string, unknown>;
  [field: string]: unknown;
}

export interface Event {
  seq: number;
  at: string;
  turn?: number;
  actor?: string | null;
  payload: Payload;
}

export interface ToolUse extends Payload {
  name: string;
  input: Record<string, unknown>;
  evaluated_permission?: "allow" | "ask" | "deny";
}

export interface Approval extends Omit<schema.Approval, "tool_use" | "answered"> {
  tool_use: ToolUse;
  answered?: { result: "allow" | "deny"; message?: string; at: string; by: string | null };
}

export interface DiffFile {
  path: string;
  previous_path?: string;
  status: "added" | "deleted" | "renamed" | "copied" | "type_changed" | "modified";
  /** Lines; none of a binary file. */
  additions: number | null;
  deletions: number | null;
}

export interface SessionDiff extends Omit<schema.SessionDiff, "files"> {
  files: DiffFile[];
}
