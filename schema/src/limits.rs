//! Bounds of the vocabulary. Every crate keeps its own beside this one; these are the numbers clients can see.

/// Largest request body the API takes, in bytes.
pub const BODY_BYTES: usize = 8 * 1024 * 1024;
/// Deepest JSON nesting accepted from outside (serde_json's own limit, stated so that errors can name it).
pub const JSON_DEPTH: usize = 128;
/// Most events in one `POST …/events`.
pub const EVENTS_PER_SEND: usize = 100;
/// Inline tool output kept in an event; larger output goes to a blob with head, tail and reference inline (I16).
pub const TOOL_OUTPUT_BYTES: usize = 256 * 1024;
/// Bytes kept of one tool output, from its start; what comes after them is shown as the tail and counted, but not kept (I16).
pub const TOOL_OUTPUT_KEPT_BYTES: u64 = 100 * 1024 * 1024;
/// Name of an agent, an environment or a session title, in characters.
pub const NAME_CHARS: usize = 256;
/// Description, in characters.
pub const DESCRIPTION_CHARS: usize = 2048;
/// System prompt, in characters.
pub const SYSTEM_CHARS: usize = 100_000;
/// Executors that are attached to one session, or that an agent or an environment attaches to its sessions.
pub const EXECUTORS: usize = 8;
/// Tools of one agent.
pub const TOOLS: usize = 128;
/// MCP servers of one agent.
pub const MCP_SERVERS: usize = 20;
/// Skills of one agent.
pub const SKILLS: usize = 20;
/// Metadata pairs.
pub const METADATA_PAIRS: usize = 16;
/// Metadata key, in characters.
pub const METADATA_KEY_CHARS: usize = 64;
/// Metadata value, in characters.
pub const METADATA_VALUE_CHARS: usize = 512;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Page size of lists when the client names none, and the most it may ask for.
pub const PAGE_DEFAULT: u32 = 20;
/// The most a client may ask for in one page.
pub const PAGE_MAX: u32 = 100;
/// The most events a client may ask for in one page (the official worker asks for 1000).
pub const EVENT_PAGE_MAX: u32 = 1000;
