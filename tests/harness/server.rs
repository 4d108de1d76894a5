//! The real `perennial up` as a child process on a port of its own, killed with the test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Client;

/// Longest wait for a server to say that it listens.
const START: Duration = Duration::from_secs(30);

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
        let args = [
            "--lease-ttl-ms",
            "1000",
            "--renew-ms",
            "300",
            "--sweep-ms",
            "200",
            "--allow-local",
        ];
        Self {
            data_dir: data_dir.to_owned(),
            env: Vec::new(),
            args: args.map(str::to_owned).to_vec(),
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
        let mut child = self.command()?.spawn().context("could not start perennial")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = match tokio::time::timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => {
                let status = child.wait().await?;
                bail!("perennial up ended before it listened ({status}): {}", self.log());
            }
            Err(_) => bail!("perennial up did not listen within {START:?}: {}", self.log()),
        };
        let url = line.trim().to_owned();
        let key = std::fs::read_to_string(self.data_dir.join("key")).context("no key file")?;
        let pid = child.id().context("no pid")?;
        Ok(Server {
            client: Client::new(&url, key.trim())?,
            url,
            child,
            pid,
        })
    }

    /// The command line, with an environment of our choosing only.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn command(&self) -> Result<Command> {
        std::fs::create_dir_all(&self.data_dir)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let mut command = Command::new(binary()?);
        command
            .arg("up")
            .args(["--data-dir".as_ref(), self.data_dir.as_os_str()])
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.data_dir)
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }

    fn log_file(&self) -> PathBuf {
        let mut name = self.data_dir.clone().into_os_string();
        name.push(".log");
        PathBuf::from(name)
    }

    /// What the server wrote to stderr, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
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
    child: Child,
}

impl Server {
    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("could not kill")
    }

    /// Waits until it ends by itself (a failpoint).
    ///
    /// # Errors
    /// When it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> Result<()> {
        tokio::time::timeout(patience, self.child.wait())
            .await
            .context("still running")??;
        Ok(())
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub async fn stop(mut self, patience: Duration) -> Result<std::process::ExitStatus> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid)?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        Ok(tokio::time::timeout(patience, self.child.wait())
            .await
            .context("did not stop")??)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// The binary under test: `PERENNIAL_BIN`, or the one beside the test's own profile folder.
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PERENNIAL_BIN") {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe()?;
    let path = test.ancestors().nth(2).context("no target folder")?.join("perennial");
    if !path.exists() {
        bail!(
            "{} is missing: build it with `cargo build --features perennial/failpoints` first",
            path.display()
        );
    }
    Ok(path)
}
