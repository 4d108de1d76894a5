//! A service in a process of its own, as what is measured has one.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// It runs until it is stopped or dropped.
pub(crate) struct Aside {
    child: Child,
    /// Where it answers, `http://ADDRESS:PORT`.
    pub(crate) url: String,
}

impl Aside {
    /// Starts this program with an argument.
    pub(crate) async fn start(argument: &str) -> Result<Self> {
        Self::run(Command::new(std::env::current_exe()?).arg(argument)).await
    }

    /// Starts a program; the first line it prints is its address.
    pub(crate) async fn run(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let url = line.with_context(|| format!("{command:?} ended"))?;
        Ok(Self { child, url })
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
