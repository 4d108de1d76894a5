//! What the rig must know of a harness.

use perennial_tests::harnesses::Pinned;
use perennial_tests::models::Vendor;
use serde_json::Value;

use crate::conversation::{self, Block};

/// A harness.
pub(crate) struct Kind {
    /// Which.
    pub(crate) harness: Pinned,
    /// A model it drives.
    pub(crate) model: &'static str,
    /// Whose API it speaks.
    pub(crate) vendor: Vendor,
    /// The name of its process.
    pub(crate) program: &'static str,
    /// One process serves all sessions of a worker, and outlives their turns.
    pub(crate) is_shared: bool,
    /// The setting that names its binary.
    pub(crate) setting: &'static str,
    /// What a request says.
    pub(crate) blocks: fn(&Value) -> Vec<Block>,
    /// What its model reads of it, byte for byte.
    pub(crate) read: fn(&Value) -> Vec<String>,
}

/// Claude Code.
pub(crate) const CLAUDE_CODE: Kind = Kind {
    harness: Pinned::ClaudeCode,
    model: "claude-test-1",
    vendor: Vendor::Anthropic,
    program: "claude",
    is_shared: false,
    setting: "PERENNIAL_CLAUDE_BIN",
    blocks: conversation::of_messages,
    read: conversation::read_of_messages,
};

/// Codex.
pub(crate) const CODEX: Kind = Kind {
    harness: Pinned::Codex,
    model: "openai/gpt-6-sol",
    vendor: Vendor::OpenAi,
    program: "codex",
    is_shared: true,
    setting: "PERENNIAL_CODEX_BIN",
    blocks: conversation::of_responses,
    read: conversation::read_of_responses,
};
