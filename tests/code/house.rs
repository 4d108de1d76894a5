//! A server on loopback whose sessions are prepared.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::client::{Client, id};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) up: Up,
    pub(crate) server: Option<Server>,
    dir: tempfile::TempDir,
}

impl House {
    pub(crate) async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let up = Up::on(&dir.path().join("data")).env("PERENNIAL_TEST_EGRESS", "page.test=127.0.0.1");
        let server = Some(up.start().await?);
        Ok(Self { up, server, dir })
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        self.server.as_ref().map(|server| &server.client).context("it runs")
    }

    /// SIGKILL, and its next life.
    pub(crate) async fn killed(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill().await?;
        self.server = Some(self.up.start().await?);
        Ok(())
    }

    /// A folder of its own beside the data.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A session in an environment of this configuration.
    pub(crate) async fn session(&self, config: &Value, resources: &Value) -> Result<String> {
        let client = self.client()?;
        let (agent, _) = client.agent_and_environment("rehearsal-1").await?;
        let body = json!({"name": format!("of {}", uuid::Uuid::now_v7()), "config": config});
        let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
        let body = json!({"agent": agent, "environment_id": environment, "resources": resources});
        id(&client.post("/v1/sessions", &body).await?.ok()?)
    }

    /// One turn; its events.
    pub(crate) async fn turn(&self, session: &str, text: &str) -> Result<Vec<Value>> {
        let client = self.client()?;
        let after = client.log(session).await?.len() as u64;
        client.say(session, text).await?;
        Ok(client.until_idle(session, after, PATIENCE).await?.0)
    }

    /// One turn that runs a command; what the model is told of it.
    pub(crate) async fn bash(&self, session: &str, command: &str) -> Result<String> {
        let events = self.turn(session, &script(command)).await?;
        result(&events).with_context(|| format!("no result: {events:?} {}", self.up.log()))
    }

    /// Everything that is kept or said anywhere.
    pub(crate) async fn everything(&self, session: &str) -> Result<Vec<u8>> {
        let log = self.client()?.log(session).await?;
        let mut all = serde_json::to_vec(&log)?;
        all.extend(self.up.log().bytes());
        let mut open = vec![self.up.data_dir.clone()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir)?.flatten() {
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    open.push(entry.path());
                } else if kind.is_file() {
                    all.extend(std::fs::read(entry.path()).unwrap_or_default());
                }
            }
        }
        Ok(all)
    }
}

pub(crate) fn script(command: &str) -> String {
    format!("/tool bash {}", json!({"command": command}))
}

pub(crate) fn result(events: &[Value]) -> Option<String> {
    let told = events.iter().find(|event| event["type"] == "agent.tool_result")?;
    told["content"][0]["text"].as_str().map(str::to_owned)
}

pub(crate) fn errors(events: &[Value]) -> Vec<String> {
    let errors = events.iter().filter(|event| event["type"] == "session.error");
    errors
        .map(|event| event["error"]["message"].as_str().unwrap_or_default().to_owned())
        .collect()
}

pub(crate) fn has(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
