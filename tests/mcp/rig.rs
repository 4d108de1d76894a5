//! Somebody's MCP server, and a server of ours whose agents use it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The revision a server of somebody's speaks.
pub(crate) const ERAS: [&str; 2] = ["MODERN", "LEGACY"];

/// The Python that has the official SDK; none where it is not installed.
pub(crate) fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/test-env/venv-mcp/bin/python");
    python.exists().then_some(python)
}

pub(crate) const NO_PYTHON: &str = "MCP: target/test-env/venv-mcp is missing (scripts/setup.sh --test makes it)";

/// Somebody's server; it dies with this.
pub(crate) struct Somebody {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Somebody {
    pub(crate) async fn start(era: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/server.py");
        let mut child = Command::new(python().context(NO_PYTHON)?)
            .args([script.as_os_str(), folder.path().as_os_str(), era.as_ref()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true)
            .spawn()?;
        let began = Instant::now();
        loop {
            ensure!(child.try_wait()?.is_none(), "the server ended");
            ensure!(began.elapsed() < PATIENCE, "the server does not start");
            // Written when it listens already.
            let port = std::fs::read_to_string(folder.path().join("port")).unwrap_or_default();
            if let Ok(port) = port.parse() {
                return Ok(Self { folder, port, child });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where it is, by a name that leads here.
    pub(crate) fn url(&self) -> String {
        format!("http://mcp.test:{}/mcp", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Puts a file into its folder: what a tool says of itself (`NAME.txt`), that it lets go (`go`) or nobody in (`closed`).
    pub(crate) fn put(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), text)?)
    }

    pub(crate) fn take(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.folder.path().join(name))?)
    }

    fn ledger(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default();
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Requests that reached it, whatever came of them.
    pub(crate) fn requests(&self) -> Result<usize> {
        Ok(self.ledger()?.len())
    }

    /// The calls of a tool that began.
    pub(crate) fn calls(&self, tool: &str) -> Result<Vec<Value>> {
        let mut ledger = self.ledger()?;
        ledger.retain(|line| line["tool"] == tool && line["cancelled"].is_null());
        Ok(ledger)
    }

    /// Waits for so many calls of a tool.
    pub(crate) async fn called(&self, tool: &str, times: usize) -> Result<()> {
        self.until(|somebody| Ok(somebody.calls(tool)?.len() >= times)).await
    }

    /// Waits until it was told that nobody wants the result of a tool's call.
    pub(crate) async fn cancelled(&self, tool: &str) -> Result<()> {
        let cancelled = |line: &Value| line["tool"] == tool && line["cancelled"] == true;
        self.until(|somebody| Ok(somebody.ledger()?.iter().any(cancelled)))
            .await
    }

    async fn until(&self, so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !so(self)? {
            ensure!(began.elapsed() < PATIENCE, "it did not happen: {:?}", self.ledger()?);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<tempfile::TempDir> {
        self.child.kill().await?;
        Ok(self.folder)
    }
}

/// A server of ours.
pub(crate) struct House {
    up: Up,
    server: Option<Server>,
    _dir: tempfile::TempDir,
}

impl House {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(|up| up).await
    }

    /// One that exports traces.
    pub(crate) async fn traced(collector: &str) -> Result<Self> {
        Self::with(|up| up.arg("--otlp-endpoint").arg(collector)).await
    }

    async fn with(terms: impl FnOnce(Up) -> Up) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let up = Up::on(&dir.path().join("data")).env("PERENNIAL_TEST_EGRESS", "mcp.test=127.0.0.1");
        let up = terms(up);
        let server = Some(up.start().await?);
        Ok(Self { up, server, _dir: dir })
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

    /// A session whose agent has this server, in an environment of this configuration.
    pub(crate) async fn session_in(&self, config: &Value, url: &str, toolset: &Value) -> Result<String> {
        let client = self.client()?;
        let environment = json!({"name": format!("of {}", uuid::Uuid::now_v7()), "config": config});
        let environment = id(&client.post("/v1/environments", &environment).await?.ok()?)?;
        let mut tools = json!({"type": "mcp_toolset", "mcp_server_name": "docs"});
        for (name, value) in toolset.as_object().into_iter().flatten() {
            tools[name] = value.clone();
        }
        let agent = json!({"name": "reader", "model": "rehearsal-1", "tools": [tools],
            "mcp_servers": [{"type": "url", "name": "docs", "url": url}]});
        let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
        client.session(&agent, &environment).await
    }

    /// The same whose tools need nobody's word.
    pub(crate) async fn session(&self, url: &str) -> Result<String> {
        let allowed = json!({"default_config": {"permission_policy": {"type": "always_allow"}}});
        self.session_in(&json!({"type": "local"}), url, &allowed).await
    }

    /// One turn; its events.
    pub(crate) async fn turn(&self, session: &str, text: &str) -> Result<Vec<Value>> {
        let client = self.client()?;
        let after = client.log(session).await?.len() as u64;
        client.say(session, text).await?;
        self.rest(session, after).await
    }

    /// The events beyond this one, once the session rests.
    pub(crate) async fn rest(&self, session: &str, after: u64) -> Result<Vec<Value>> {
        let client = self.client()?;
        client.until_idle(session, after, PATIENCE).await?;
        Ok(client.log(session).await?.split_off(after as usize))
    }
}

/// The payloads of a type.
pub(crate) fn of<'a>(log: &'a [Value], kind: &'a str) -> Vec<&'a Value> {
    let events = log.iter().filter(|event| event["type"] == kind);
    events.map(|event| &event["payload"]).collect()
}

/// The one of them.
pub(crate) fn one<'a>(log: &'a [Value], kind: &'a str) -> Result<&'a Value> {
    let found = of(log, kind);
    ensure!(found.len() == 1, "{} of {kind}: {log:#?}", found.len());
    Ok(found[0])
}

/// What a result says first.
pub(crate) fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}
