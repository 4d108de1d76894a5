//! A verb on a terminal of its own, as a person has it before them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::pty::openpty;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal and what runs on it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    /// All that was shown.
    pub shown: String,
    /// How much of it was waited for already.
    read: usize,
}

impl Terminal {
    /// Starts a command on it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let pty = openpty(None, None)?;
        let end = |fd: &OwnedFd| -> Result<std::process::Stdio> { Ok(fd.try_clone()?.into()) };
        let child = command
            .stdin(end(&pty.slave)?)
            .stdout(end(&pty.slave)?)
            .stderr(end(&pty.slave)?)
            .spawn()?;
        drop(command);
        let keys = File::from(pty.master.try_clone()?);
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut screen = File::from(pty.master);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails when the last one who could write has ended.
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            keys,
            pieces,
            shown: String::new(),
            read: 0,
        })
    }

    /// Waits until something new shows `part`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn until(&mut self, part: &str) -> Result<()> {
        let wait = async {
            loop {
                if let Some(at) = self.shown[self.read..].find(part) {
                    self.read += at + part.len();
                    return Ok(());
                }
                let Some(piece) = self.pieces.recv().await else {
                    bail!("ended: {}", self.shown)
                };
                self.shown.push_str(&String::from_utf8_lossy(&piece));
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("{part:?} never came"))?
    }

    /// Types a line.
    ///
    /// # Errors
    /// When nobody reads.
    pub fn types(&mut self, line: &str) -> Result<()> {
        Ok(self.keys.write_all(format!("{line}\n").as_bytes())?)
    }

    /// How it ended.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        Ok(tokio::time::timeout(PATIENCE, self.child.wait()).await??.code())
    }
}
