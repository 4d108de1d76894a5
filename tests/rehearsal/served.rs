//! The verb as a child process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::child::bind_to_us;
use perennial_tests::server::binary;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `perennial rehearsal --json`.
pub(crate) struct Served {
    pub(crate) origin: String,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Served {
    pub(crate) async fn start(flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command
            .args(["rehearsal", "--json", "--listen", "127.0.0.1:0"])
            .args(flags);
        command.stdout(std::process::Stdio::piped());
        bind_to_us(&mut command);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut served = Self {
            origin: String::new(),
            lines: BufReader::new(stdout).lines(),
            _child: child,
        };
        let listening = served.told().await?;
        served.origin = listening["anthropic_base_url"]
            .as_str()
            .context("no address")?
            .to_owned();
        Ok(served)
    }

    /// What it tells next.
    pub(crate) async fn told(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await??;
        Ok(serde_json::from_str(&line.context("it ended")?)?)
    }

    /// What it told already, for `count` requests.
    pub(crate) async fn requests(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut told = Vec::new();
        for _ in 0..count {
            told.push(self.told().await?);
        }
        Ok(told)
    }
}

/// Requests in a record.
pub(crate) fn recorded(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
