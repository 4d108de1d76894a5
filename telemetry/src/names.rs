//! What OpenTelemetry calls things: the conventions for generative AI, which are still in development, and the few of its general
//! ones that we use. All names are here, of one version of the conventions ([`SCHEMA_URL`]); a new version changes this file and
//! nothing else. Names that begin with `perennial.` are our own.

/// The version of the conventions that these names are from.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev";
/// Who made the spans.
pub const SCOPE: &str = "perennial";

/// What is done: one of the operations below.
pub const OPERATION: &str = "gen_ai.operation.name";
/// An agent does its turn.
pub const INVOKE_AGENT: &str = "invoke_agent";
/// A model is asked.
pub const CHAT: &str = "chat";
/// A tool is called.
pub const EXECUTE_TOOL: &str = "execute_tool";

/// Whose model it is.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The answer was asked for piece by piece.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// Seconds until its first piece came.
pub const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// The session.
pub const CONVERSATION: &str = "gen_ai.conversation.id";
/// The agent.
pub const AGENT_ID: &str = "gen_ai.agent.id";
/// Its name.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// Its version.
pub const AGENT_VERSION: &str = "gen_ai.agent.version";
/// Tokens read, those of caches included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens written.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Of those read: found in a cache.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Of those read: put into a cache.
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// The tool.
pub const TOOL_NAME: &str = "gen_ai.tool.name";
/// What kind of tool.
pub const TOOL_TYPE: &str = "gen_ai.tool.type";
/// A tool whose arguments the model makes and that is run for it.
pub const FUNCTION: &str = "function";
/// A tool that asks another service.
pub const EXTENSION: &str = "extension";
/// The event that asked for it.
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// What an MCP server is asked.
pub const MCP_METHOD: &str = "mcp.method.name";
/// To run a tool.
pub const MCP_TOOLS_CALL: &str = "tools/call";

/// Why something failed, in a word.
pub const ERROR_TYPE: &str = "error.type";
/// `GET`, `POST`, …
pub const HTTP_METHOD: &str = "http.request.method";
/// The route, without ids.
pub const HTTP_ROUTE: &str = "http.route";
/// The status of the answer.
pub const HTTP_STATUS: &str = "http.response.status_code";

/// The request, as logs and clients know it.
pub const REQUEST_ID: &str = "perennial.request.id";
/// Which turn of the session.
pub const TURN: &str = "perennial.turn";
/// Why it rests.
pub const STOP_REASON: &str = "perennial.stop_reason";
/// What drives the model.
pub const HARNESS: &str = "perennial.harness";
/// The machine or sandbox that runs a call.
pub const EXECUTOR: &str = "perennial.executor.id";
/// How often a call was sent.
pub const ATTEMPT: &str = "perennial.call.attempt";
