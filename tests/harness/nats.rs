//! A real nats-server as a child process on a port of its own, killed with the test. It keeps nothing, so being killed and
//! started again is all that can happen to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use perennial_proof::rig::port::free_port;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::child::bind_to_us;

/// Longest wait for a server to say that it is ready.
const START: Duration = Duration::from_secs(10);

/// Where Debian puts it, which is not in every user's search path.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/bin", "/usr/bin"];

/// A server, running or not.
#[derive(Debug)]
pub struct Nats {
    /// Where it listens, also while it does not run.
    pub port: u16,
    binary: PathBuf,
    child: Option<Child>,
    config: Option<tempfile::NamedTempFile>,
}

impl Nats {
    /// A running server; `None` where it is not installed.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub async fn start() -> Result<Option<Self>> {
        let Some(mut server) = Self::absent()? else {
            return Ok(None);
        };
        server.run().await?;
        Ok(Some(server))
    }

    /// A server that does not run yet; `None` where it is not installed.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn absent() -> Result<Option<Self>> {
        let Some(binary) = installed() else {
            return Ok(None);
        };
        Ok(Some(Self {
            port: free_port()?,
            binary,
            child: None,
            config: None,
        }))
    }

    /// With this configuration file, from its next start on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&mut self, config: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), config)?;
        self.config = Some(file);
        Ok(())
    }

    /// Its address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it, on the same port every time.
    ///
    /// # Errors
    /// When it does not say in time that it is ready.
    pub async fn run(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config.path());
        }
        bind_to_us(&mut command);
        let mut child = command.spawn().context("could not start nats-server")?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut said = Vec::new();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("Server is ready") {
                    return true;
                }
                said.push(line);
            }
            false
        };
        match tokio::time::timeout(START, ready).await {
            Ok(true) => {}
            _ => bail!("nats-server did not become ready: {}", said.join("\n")),
        }
        // Whatever it says later has a reader, so that it never waits for one.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await.context("could not kill nats-server"),
            None => Ok(()),
        }
    }
}

/// Where nats-server is: `PERENNIAL_NATS_SERVER`, the search path, or where Debian puts it.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PERENNIAL_NATS_SERVER") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    places
        .map(|place: PathBuf| place.join(Path::new("nats-server")))
        .find(|binary| binary.is_file())
}
