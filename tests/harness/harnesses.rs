//! The real harnesses, pinned below `tests/harnesses` by npm's lockfiles; `scripts/setup.sh --test` installs them.

use std::path::{Path, PathBuf};

/// A pinned harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
}

impl Pinned {
    /// As agents name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }

    /// Where its binary is, whether or not it is there.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let (arch, target) = if cfg!(target_arch = "aarch64") {
            ("arm64", "aarch64-unknown-linux-musl")
        } else {
            ("x64", "x86_64-unknown-linux-musl")
        };
        let below = match self {
            Self::ClaudeCode => format!("claude/node_modules/@anthropic-ai/claude-code-linux-{arch}/claude"),
            Self::Codex => format!("codex/node_modules/@openai/codex-linux-{arch}/vendor/{target}/bin/codex"),
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("harnesses").join(below)
    }

    /// Its binary; none where it is not installed, which is said, and an error where everything must run.
    ///
    /// # Errors
    /// Where everything must run.
    pub fn installed(self) -> anyhow::Result<Option<PathBuf>> {
        let path = self.path();
        if path.exists() {
            return Ok(Some(path));
        }
        crate::not_run(&format!("{}: run scripts/setup.sh --test first", self.name()))?;
        Ok(None)
    }
}
