//! On a terminal `run` asks before a tool runs, in colour, and takes an answer from elsewhere as well.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::pty::openpty;
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::bench::Bench;

const PATIENCE: Duration = Duration::from_secs(30);

/// A verb on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    shown: String,
    /// How much of `shown` was waited for already.
    read: usize,
}

impl Terminal {
    fn start(bench: &Bench, arguments: &[&str]) -> Result<Self> {
        let pty = openpty(None, None)?;
        let end = |fd: &OwnedFd| -> Result<std::process::Stdio> { Ok(fd.try_clone()?.into()) };
        let child = bench
            .command(arguments)?
            .stdin(end(&pty.slave)?)
            .stdout(end(&pty.slave)?)
            .stderr(end(&pty.slave)?)
            .spawn()?;
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
    async fn until(&mut self, part: &str) -> Result<()> {
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

    fn types(&mut self, line: &str) -> Result<()> {
        Ok(self.keys.write_all(format!("{line}\n").as_bytes())?)
    }

    async fn ended(&mut self) -> Result<Option<i32>> {
        Ok(tokio::time::timeout(PATIENCE, self.child.wait()).await??.code())
    }
}

#[tokio::test]
async fn tools_are_asked_about_one_after_the_other() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let script = "/tool bash {\"command\":\"echo one\"}\n/tool bash {\"command\":\"echo two\"}";
    let mut terminal = Terminal::start(&bench, &["run", "--agent", &agent, script])?;
    terminal.until("allow bash echo one ?").await?;
    terminal.types("perhaps")?;
    terminal.until("allow bash echo one ?").await?;
    terminal.types("y")?;
    terminal.until("allow bash echo two ?").await?;
    terminal.types("n not that one")?;
    terminal.until("not that one").await?;
    terminal.until("✓ done").await?;
    ensure!(terminal.ended().await? == Some(0), "{}", terminal.shown);
    ensure!(
        terminal.shown.contains("\u{1b}[32m✓ done"),
        "in colour: {:?}",
        terminal.shown
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_from_elsewhere_takes_the_question_away() -> Result<()> {
    let bench = Bench::open().await?;
    let agent = bench.asking_agent().await?;
    let script = "/tool bash {\"command\":\"echo one\"}";
    let mut terminal = Terminal::start(&bench, &["run", "--agent", &agent, script])?;
    terminal.until("allow bash echo one ?").await?;
    let listed = bench.run(&["--json", "ps"]).await?.with(0)?.json()?;
    let session = listed
        .first()
        .and_then(|session| session["id"].as_str())
        .context("a session")?;
    bench.run(&["approve", session]).await?.with(0)?;
    terminal.until("✓ done").await?;
    ensure!(terminal.ended().await? == Some(0), "{}", terminal.shown);
    Ok(())
}
