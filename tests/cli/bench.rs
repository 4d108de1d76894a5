//! A server on a fresh data directory, and the binary run against it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::server::{Server, Up, binary};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// For one verb.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a verb did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// The last line of stdout, where `run` puts the session's id.
    pub(crate) fn last_line(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }

    /// Each line of stdout as JSON.
    pub(crate) fn json(&self) -> Result<Vec<Value>> {
        let parse = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
        self.out.lines().map(parse).collect()
    }

    /// The same, if it ended with this code.
    pub(crate) fn with(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected {code}: {self:#?}");
        Ok(self)
    }
}

/// A data directory and what runs on it.
pub(crate) struct Bench {
    folder: TempDir,
    up: Up,
    pub(crate) server: Option<Server>,
}

impl Bench {
    pub(crate) async fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let up = Up::on(&folder.path().join("data"));
        let server = Some(up.start().await?);
        Ok(Self { folder, up, server })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.up.data_dir.clone()
    }

    /// SIGKILL and a new start, on another port.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.kill().await?;
        }
        self.server = Some(self.up.start().await?);
        Ok(())
    }

    /// A verb, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        command(&self.data_dir(), arguments)
    }

    /// Runs a verb to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Done> {
        run(self.command(arguments)?).await
    }

    /// An agent whose tools ask, with a custom tool beside them.
    pub(crate) async fn asking_agent(&self) -> Result<String> {
        let definition = self.folder().join("agent.json");
        let text = r#"{"tools": [
            {"type": "agent_toolset_20260401",
             "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}}},
            {"type": "custom", "name": "weather", "description": "w", "input_schema": {"type": "object"}}]}"#;
        std::fs::write(&definition, text)?;
        let file = definition.to_str().context("UTF-8")?;
        let made = self
            .run(&["--json", "agent", "create", "asking", "--file", file])
            .await?
            .with(0)?;
        let agent = made.json()?.pop().context("an agent")?;
        Ok(agent["id"].as_str().context("an id")?.to_owned())
    }
}

/// A verb with an environment of our choosing only.
pub(crate) fn command(data_dir: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", data_dir)
        .env("PERENNIAL_DATA_DIR", data_dir)
        // What stays on this machine must not be sent through a proxy.
        .env("http_proxy", "http://127.0.0.1:1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

pub(crate) async fn run(mut command: Command) -> Result<Done> {
    let child = command.spawn().context("could not start the binary")?;
    done(child).await
}

/// Waits for a verb that was started.
pub(crate) async fn done(child: tokio::process::Child) -> Result<Done> {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .context("the verb did not end")??;
    Ok(Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}
