//! What the rig must know of a harness.

use std::path::PathBuf;

use perennial_tests::models::Vendor;
use serde_json::Value;

use crate::conversation::{self, Block};

/// A harness.
pub(crate) struct Kind {
    /// As agents name it.
    pub(crate) name: &'static str,
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
    /// Its binary below `tests/harnesses`.
    pub(crate) binary: &'static str,
    /// What a request says.
    pub(crate) blocks: fn(&Value) -> Vec<Block>,
    /// What its model reads of it, byte for byte.
    pub(crate) read: fn(&Value) -> Vec<String>,
}

impl Kind {
    /// Its binary, if it is installed.
    pub(crate) fn installed(&self) -> Option<PathBuf> {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let target = if cfg!(target_arch = "aarch64") {
            "aarch64"
        } else {
            "x86_64"
        };
        let path = self.binary.replace("ARCH", arch).replace("TARGET", target);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("harnesses").join(path);
        path.exists().then_some(path)
    }
}

/// Claude Code.
pub(crate) const CLAUDE_CODE: Kind = Kind {
    name: "claude-code",
    model: "claude-test-1",
    vendor: Vendor::Anthropic,
    program: "claude",
    is_shared: false,
    setting: "PERENNIAL_CLAUDE_BIN",
    binary: "claude/node_modules/@anthropic-ai/claude-code-linux-ARCH/claude",
    blocks: conversation::of_messages,
    read: conversation::read_of_messages,
};

/// Codex.
pub(crate) const CODEX: Kind = Kind {
    name: "codex",
    model: "openai/gpt-6-sol",
    vendor: Vendor::OpenAi,
    program: "codex",
    is_shared: true,
    setting: "PERENNIAL_CODEX_BIN",
    binary: "codex/node_modules/@openai/codex-linux-ARCH/vendor/TARGET-unknown-linux-musl/bin/codex",
    blocks: conversation::of_responses,
    read: conversation::read_of_responses,
};
