//! Every bound of this crate.

use std::time::Duration;

/// Calls and questions one executor may have outstanding; more are refused as not started.
pub const PENDING_PER_LINK: usize = 4096;
/// Executors attached at once.
pub const LINKS: usize = 1024;
/// How long a new link may take to say hello.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a call, or a question about one, waits for an executor that is away.
pub const ATTACH_WAIT: Duration = Duration::from_secs(5);
/// How long the copy of a workspace folder may take.
pub const COPY_WAIT: Duration = Duration::from_secs(300);
/// How long one piece of a long output may take.
pub const PIECE_WAIT: Duration = Duration::from_secs(30);
/// Longest tool name offered to a model.
pub const TOOL_NAME_BYTES: usize = 64;
/// Largest request a harness may send to its MCP endpoint, in bytes.
pub const MCP_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Longest result a harness must take as it is, in characters: twice what an event keeps inline.
pub const MCP_RESULT_CHARS: usize = 2 * perennial_schema::limits::TOOL_OUTPUT_BYTES;
