// Made from api/openapi.json by scripts/types.mjs.

/** A versioned definition. */
export interface Agent {
  archived_at?: string | null;
  created_at: string;
  description?: string | null;
  execution_identity: unknown;
  /** Ours: `claude-code`, `codex` or `acp:NAME`; absent for the native loop. */
  harness?: string | null;
  id: string;
  mcp_servers: Array<unknown>;
  metadata: Record<string, string>;
  model: Model;
  multiagent?: unknown;
  name: string;
  skills: Array<unknown>;
  system?: string | null;
  tools: Array<unknown>;
  type: string;
  updated_at: string;
  version: number;
}

export interface AgentCreate {
  description?: string | null;
  /** Ours: `native` (default), `claude-code`, `codex` or `acp:NAME`. */
  harness?: string | null;
  mcp_servers?: Array<unknown> | null;
  metadata?: Record<string, string> | null;
  /** A model name, or an object with `id`. */
  model: unknown;
  name: string;
  system?: string | null;
  tools?: Array<unknown> | null;
}

export interface AgentPage {
  data: Array<Agent>;
  next_page?: string | null;
}

export interface AgentUpdate {
  description?: string | null;
  harness?: string | null;
  mcp_servers?: Array<unknown> | null;
  /** Merged; a null value deletes its key. */
  metadata?: Record<string, string | null> | null;
  model?: unknown;
  name?: string | null;
  system?: string | null;
  tools?: Array<unknown> | null;
  /** Refused unless it is the newest. */
  version?: number | null;
}

/** A tool use that waits for somebody's answer. Ours. */
export interface Approval {
  agent_id: string;
  agent_name: string;
  /** The type of event that answers it. */
  answer: string;
  session_id: string;
  session_title?: string | null;
  /** The event, as the session's log has it. */
  tool_use: unknown;
  type: string;
}

export interface ApprovalPage {
  data: Array<Approval>;
  next_page?: string | null;
}

/** How much of models may be used. Ours. */
export interface Budget {
  created_at: string;
  id: string;
  limit: number;
  /** `requests`, `tokens` or `money`. */
  metric: string;
  /** `total`, or `day`: it begins anew at midnight UTC. */
  period: string;
  remaining: number;
  /** Set aside for requests under way. */
  reserved: number;
  resets_at?: string | null;
  /** `{"type": "workspace"}`, `{"type": "key", "id"}` or `{"type": "session", "id"}`. */
  scope: unknown;
  type: string;
  /** What the amounts count: `requests`, `tokens` or `microusd`, millionths of a US dollar. */
  unit: string;
  used: number;
  /** From this share of the limit on a session that uses it is warned, once a period (`budget.warning`). */
  warn_percent?: number | null;
}

export interface BudgetCreate {
  /** Units, or for money `{"amount": "2500", "currency": "USD"}` in cents. */
  limit: unknown;
  metric: string;
  /** `total` (the default) or `day`. */
  period?: string | null;
  /** As shown, or just `workspace` (the default) or an id. */
  scope?: unknown;
  warn_percent?: number | null;
}

export interface BudgetPage {
  data: Array<Budget>;
  next_page?: string | null;
}

export interface BudgetUpdate {
  /** Sessions that rest for this budget try again. */
  limit?: unknown;
  /** Null: no warning. */
  warn_percent?: number | null;
}

export interface Deleted {
  id: string;
  type: string;
}

/** An event with its envelope. */
export interface Envelope {
  actor?: string | null;
  created_at: string;
  id: string;
  payload: unknown;
  seq: number;
  session_id: string;
  thread_id?: string | null;
  turn: number;
  type: string;
}

/** Where a session's hands are. */
export interface Environment {
  archived_at?: string | null;
  /** `cloud`, `self_hosted`, or ours: `local`. */
  config: unknown;
  created_at: string;
  description: string;
  id: string;
  metadata: Record<string, string>;
  name: string;
  type: string;
  updated_at: string;
}

export interface EnvironmentCreate {
  config?: unknown;
  description?: string | null;
  metadata?: Record<string, string> | null;
  name: string;
}

export interface EnvironmentPage {
  data: Array<Environment>;
  next_page?: string | null;
}

export interface EnvironmentUpdate {
  config?: unknown;
  description?: string | null;
  metadata?: Record<string, string | null> | null;
  name?: string | null;
}

/** A refused or failed request. */
export interface Error {
  detail: string;
  error: ErrorDetail;
  /** Also in the `request-id` header. */
  request_id?: string | null;
  status: number;
  title: string;
  /** Always `error`. */
  type: string;
}

/** What went wrong. */
export interface ErrorDetail {
  details?: unknown;
  /** Names the field or the remedy. */
  message: string;
  type: string;
}

export interface EventPage {
  data: Array<unknown>;
  next_page?: string | null;
}

export interface EventsSend {
  /** Client events: `user.message`, `user.interrupt`, `user.tool_confirmation`, `user.custom_tool_result`,
`user.tool_result`, `system.message`. */
  events: Array<unknown>;
}

export interface EventsSent {
  data: Array<unknown>;
}

/** A machine that dials in. */
export interface Executor {
  /** What it said of itself when it connected last. */
  card?: unknown;
  created_at: string;
  id: string;
  /** `device`, or `sandbox`: made for one session. */
  kind: string;
  last_seen_at?: string | null;
  name: string;
  /** `online` or `offline`. */
  status: string;
  type: string;
}

/** What came of a call. */
export interface ExecutorCall {
  content: Array<unknown>;
  executor_id: string;
  /** What a command exited with. */
  exit_code?: number | null;
  id: string;
  is_error: boolean;
  tool: string;
  type: string;
}

export interface ExecutorCallCreate {
  /** Absolute path there; none means the folder that the executor offers. */
  dir?: string | null;
  input: unknown;
  /** `bash`, `read`, `write`, `edit`, `glob` or `grep`. */
  tool: string;
}

/** A code for one machine to register with. */
export interface ExecutorCode {
  expires_at: string;
  /** The code; shown once, by the answer that made it. */
  secret?: string | null;
  type: string;
}

/** There is nothing to choose yet. */
export type ExecutorCodeCreate = Record<string, unknown>;

export interface ExecutorPage {
  data: Array<Executor>;
  next_page?: string | null;
}

export interface ExecutorRegister {
  code: string;
  name: string;
  /** 64 lowercase hexadecimal digits that the machine chose at random; part of its token. */
  secret: string;
}

/** A machine that has just registered. */
export interface ExecutorRegistered {
  id: string;
  name: string;
  /** Opens its tunnel, and nothing else. */
  token: string;
  type: string;
  workspace_id: string;
}

export interface ExecutorRename {
  name: string;
}

/** A virtual key of the model gateway. Ours. */
export interface GatewayKey {
  agent_id?: string | null;
  created_at: string;
  expires_at?: string | null;
  id: string;
  /** `workspace`, `session`, `executor`, or `turn` for a harness of this server's. */
  kind: string;
  /** Only these; all of them when null. */
  models?: Array<string> | null;
  name: string;
  providers?: Array<string> | null;
  revoked_at?: string | null;
  /** Only in the answer that made it. */
  secret?: string | null;
  session_id?: string | null;
  type: string;
}

export interface GatewayKeyCreate {
  agent_id?: string | null;
  expires_in_seconds?: number | null;
  /** `workspace` (the default), `session` or `executor`. */
  kind?: string | null;
  models?: Array<string> | null;
  name?: string | null;
  providers?: Array<string> | null;
  session_id?: string | null;
}

export interface GatewayKeyPage {
  data: Array<GatewayKey>;
  next_page?: string | null;
}

export interface Health {
  default_model?: string | null;
  status: string;
}

export interface LogPage {
  data: Array<Envelope>;
  next_after?: number | null;
}

/** A model and how to use it. */
export interface Model {
  effort?: unknown;
  id: string;
  inference_geo?: string | null;
  speed?: string | null;
}

/** One append-only log and what follows from it. */
export interface Session {
  agent: unknown;
  archived_at?: string | null;
  budget?: unknown;
  created_at: string;
  deployment_id?: string | null;
  environment_id: string;
  id: string;
  metadata: Record<string, string>;
  outcome_evaluations: Array<unknown>;
  /** Ours, with `include=extensions`: `stop_reason`, `turn`, `head`, `quarantined`, `attempts`. */
  perennial?: unknown;
  resources: Array<unknown>;
  stats: unknown;
  /** `idle`, `running`, `rescheduling` or `terminated`. */
  status: string;
  title?: string | null;
  type: string;
  updated_at: string;
  usage: unknown;
  vault_ids: Array<string>;
}

export interface SessionCreate {
  /** An agent id, `{"type":"agent","id","version"?}`, or `{"type":"agent_with_overrides",…}`. */
  agent: unknown;
  /** `{"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}}`, in cents. */
  budget?: unknown;
  environment_id: string;
  /** `user.message` events; with any, the session starts at once. */
  initial_events?: Array<unknown> | null;
  metadata?: Record<string, string> | null;
  title?: string | null;
}

export interface SessionFork {
  /** Another agent as in a creation, or `model`, `harness`, `system`, `tools`, `mcp_servers` to change. */
  agent?: unknown;
  /** Instead of `at_seq`: the last event to copy. */
  at_event?: string | null;
  /** How many events to copy; all of them when absent. */
  at_seq?: number | null;
  title?: string | null;
}

export interface SessionPage {
  data: Array<Session>;
  next_page?: string | null;
  prev_page?: string | null;
}

export interface SessionUpdate {
  /** `tools` and `mcp_servers`, whole, while the session is idle. Ours: `model`, `harness` and `system` too. */
  agent?: unknown;
  /** Null removes it. */
  budget?: unknown;
  metadata?: Record<string, string | null> | null;
  title?: string | null;
}

/** One request to a model. Ours. */
export interface Trace {
  agent_id?: string | null;
  cost_microusd: number;
  created_at: string;
  duration_ms: number;
  error?: string | null;
  id: string;
  key_id?: string | null;
  model: string;
  provider: string;
  session_id?: string | null;
  /** 0 when there was no answer. */
  status: number;
  streamed: boolean;
  ttft_ms?: number | null;
  type: string;
  usage: unknown;
  wire: string;
}

export interface TracePage {
  data: Array<Trace>;
  next_page?: string | null;
}

export interface UsagePage {
  data: Array<UsageSum>;
  next_page?: string | null;
}

/** What requests of one group came to. Ours. */
export interface UsageSum {
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
  cost_microusd: number;
  errors: number;
  /** A day, a model, a session's or an agent's id; null where requests had none. */
  group?: string | null;
  input_tokens: number;
  output_tokens: number;
  requests: number;
  type: string;
}
