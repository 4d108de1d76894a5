//! A server that knows every brain there is, and the vendors behind them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::harnesses::Pinned;
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "sk-exchange-canary";

pub(crate) struct House {
    dir: tempfile::TempDir,
    pub(crate) up: Up,
    pub(crate) anthropic: ModelServer,
    /// Responses, and Chat Completions beside it.
    pub(crate) openai: ModelServer,
}

impl House {
    pub(crate) async fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (anthropic, openai) = (
            ModelServer::start(Vendor::Anthropic).await?,
            ModelServer::start(Vendor::OpenAi).await?,
        );
        let config = dir.path().join("perennial.toml");
        let provider = format!("[providers.chat]\nwire = 'chat'\nbase_url = '{}'\n", openai.base_url());
        std::fs::write(&config, provider)?;
        let mut up = Up::on(&dir.path().join("data"))
            .env("PERENNIAL_CONFIG", &config.to_string_lossy())
            .env("ANTHROPIC_API_KEY", KEY)
            .env("ANTHROPIC_BASE_URL", anthropic.base_url())
            .env("OPENAI_API_KEY", KEY)
            .env("OPENAI_BASE_URL", openai.base_url())
            .env("PERENNIAL_PROVIDER_CHAT_KEY", KEY);
        for (name, binary) in [
            ("PERENNIAL_CLAUDE_BIN", Pinned::ClaudeCode.path()),
            ("PERENNIAL_CODEX_BIN", Pinned::Codex.path()),
        ] {
            if binary.exists() {
                up = up.env(name, &binary.to_string_lossy());
            }
        }
        Ok(Self {
            dir,
            up,
            anthropic,
            openai,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Every request was one its vendor takes, and no key is where it does not belong.
    pub(crate) fn check(&self) -> Result<()> {
        for vendor in [&self.anthropic, &self.openai] {
            assert_eq!(vendor.violations(), Vec::<String>::new());
        }
        ensure!(!self.up.log().contains(KEY), "the key is in the log");
        Ok(())
    }

    /// Runs a turn to its end; gives back what the stream said and where it ended.
    pub(crate) async fn turn(
        &self,
        server: &Server,
        session: &str,
        after: u64,
        say: &str,
    ) -> Result<(Vec<Value>, u64)> {
        server.client.say(session, say).await?;
        let rested = server.client.until_idle(session, after, PATIENCE).await;
        let (events, last) = rested.with_context(|| self.up.log())?;
        let failed = events.iter().find(|event| event["type"] == "session.error");
        ensure!(failed.is_none(), "{failed:#?}\n{}", self.up.log());
        Ok((events, last))
    }
}

/// The session's next turns run by this.
pub(crate) async fn switch(server: &Server, session: &str, harness: &str, model: &str) -> Result<()> {
    let body = json!({"agent": {"harness": harness, "model": model}});
    let session = server
        .client
        .post(&format!("/v1/sessions/{session}"), &body)
        .await?
        .ok()?;
    ensure!(session["agent"]["model"]["id"] == model, "{session}");
    Ok(())
}

/// A turn that says something before and after a call.
pub(crate) fn script(n: u32) -> String {
    format!("/say before-{n}\n/tool bash {{\"command\":\"echo result-{n}\"}}\n/then\n/say after-{n}")
}

/// Everything such a turn leaves in the conversation.
pub(crate) fn traces(n: u32) -> [String; 4] {
    [
        format!("/say before-{n}"),
        format!("before-{n}"),
        format!("result-{n}"),
        format!("after-{n}"),
    ]
}
