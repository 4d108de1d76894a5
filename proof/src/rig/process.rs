//! Processes of the binary under test: started with an environment of our choosing, logged to a file, killed, frozen and thawed.
//! They do not outlive us.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::child::bind_to_us;

/// Longest wait for a process to say that it listens.
const START: Duration = Duration::from_secs(30);

/// How to start a process, as often as it takes.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it does: `up`, `serve`, `worker`.
    pub verb: &'static str,
    /// Data directory, also its home.
    pub data_dir: PathBuf,
    /// Where its stderr goes, over all its lives.
    pub log_file: PathBuf,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// More arguments.
    pub args: Vec<String>,
}

impl Program {
    /// The command line, with an environment of our choosing only.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn command(&self) -> Result<Command> {
        std::fs::create_dir_all(&self.data_dir)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)
            .with_context(|| format!("cannot write {}", self.log_file.display()))?;
        let mut command = Command::new(binary()?);
        command
            .arg(self.verb)
            .args(["--data-dir".as_ref(), self.data_dir.as_os_str()])
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.data_dir)
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        bind_to_us(&mut command);
        Ok(command)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Process> {
        let child = self.command()?.spawn().context("could not start perennial")?;
        let pid = child.id().context("no pid")?;
        Ok(Process { child, pid })
    }

    /// Starts it and waits for the address it listens at, the first line it prints.
    ///
    /// # Errors
    /// With what it said, when it ends instead.
    pub async fn start_listening(&self) -> Result<(Process, String)> {
        let mut process = self.start()?;
        let stdout = process.child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let verb = self.verb;
        match tokio::time::timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok((process, line.trim().to_owned())),
            Ok(_) => {
                let status = process.child.wait().await?;
                bail!("perennial {verb} ended before it listened ({status}): {}", self.log());
            }
            Err(_) => bail!("perennial {verb} did not listen within {START:?}: {}", self.log()),
        }
    }

    /// What it wrote to stderr, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_file).unwrap_or_default()
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    child: Child,
}

impl Process {
    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("could not kill")
    }

    /// Waits until it ends by itself (a failpoint).
    ///
    /// # Errors
    /// When it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(patience, self.child.wait()).await;
        Ok(ended.with_context(|| format!("still running after {patience:?}"))??)
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not end within `patience`.
    pub async fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(patience).await
    }

    /// SIGSTOP: it holds everything it holds, and does nothing.
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on as if no time had passed.
    ///
    /// # Errors
    /// When it is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid)?), signal).with_context(|| format!("{signal} to {}", self.pid))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// The binary under test: `PERENNIAL_BIN`, or this very program where it is the one, or the one beside the test's own profile
/// folder.
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PERENNIAL_BIN") {
        return Ok(PathBuf::from(path));
    }
    let this = std::env::current_exe()?;
    if this.file_stem() == Some("perennial".as_ref()) {
        return Ok(this);
    }
    let path = this.ancestors().nth(2).context("no target folder")?.join("perennial");
    if !path.exists() {
        bail!(
            "{} is missing: build it with `cargo build --features perennial/failpoints` first",
            path.display()
        );
    }
    Ok(path)
}

/// A file beside a folder: `data` and `.log` make `data.log`.
#[must_use]
pub fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
