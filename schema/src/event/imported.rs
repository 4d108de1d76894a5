//! `session.imported`.

use serde::{Deserialize, Serialize};

/// Where the events before this one come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionImported {
    /// `perennial` (an exported session: its events as they were), `claude-code` or `codex` (a transcript: events made of it).
    pub format: String,
    /// The session's id there.
    pub from_session: String,
    /// How many events.
    pub events: u64,
    /// Of an exported session: the hash of its last event, see [`crate::archive`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_hash: Option<String>,
    /// What became of the workspace folder: `unpacked`, `empty` (there was none) or `left_out`.
    pub workspace: String,
    /// Of a transcript: lines, and blocks of lines, that were not understood.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
