//! A server as a client sees it: `up` or `serve`, its address and a key.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::client::Client;
pub use super::process::binary;
use super::process::{Process, Program, beside};

/// The short leases of the fault rigs.
pub const SHORT_LEASES: [&str; 6] = ["--lease-ttl-ms", "1000", "--renew-ms", "300", "--sweep-ms", "200"];

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Up {
    /// Data directory.
    pub data_dir: PathBuf,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// More arguments.
    pub args: Vec<String>,
}

impl Up {
    /// On this data directory, with the short leases of the fault rigs.
    #[must_use]
    pub fn on(data_dir: &Path) -> Self {
        let args = SHORT_LEASES.into_iter().chain(["--allow-local"]);
        Self {
            data_dir: data_dir.to_owned(),
            env: Vec::new(),
            args: args.map(str::to_owned).collect(),
        }
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// With what it said, when it ends instead.
    pub async fn start(&self) -> Result<Server> {
        let (process, url) = self.program().start_listening().await?;
        let key = std::fs::read_to_string(self.data_dir.join("key")).context("no key file")?;
        Ok(Server {
            client: Client::new(&url, key.trim())?,
            url,
            pid: process.pid,
            process,
        })
    }

    /// The command line, with an environment of our choosing only.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn command(&self) -> Result<Command> {
        self.program().command()
    }

    /// What the server wrote to stderr, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        self.program().log()
    }

    /// The same as a process among others.
    #[must_use]
    pub fn program(&self) -> Program {
        let mut args = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
        if self.args.iter().any(|arg| arg == "--listen") {
            args.clear();
        }
        args.extend(self.args.iter().cloned());
        Program {
            verb: "up",
            data_dir: self.data_dir.clone(),
            log_file: beside(&self.data_dir, ".log"),
            env: self.env.clone(),
            args,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// A client with its key.
    pub client: Client,
    /// Its base URL.
    pub url: String,
    /// Its process.
    pub pid: u32,
    process: Process,
}

impl Server {
    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Waits until it ends by itself (a failpoint).
    ///
    /// # Errors
    /// When it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> Result<()> {
        self.process.ended(patience).await.map(drop)
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub async fn stop(mut self, patience: Duration) -> Result<ExitStatus> {
        self.process.stop(patience).await
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_gone(&mut self) -> bool {
        self.process.is_gone()
    }
}
