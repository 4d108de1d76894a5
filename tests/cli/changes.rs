//! `ps --follow`: every session, then every change, through a restart of the server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::bench::Bench;

/// For one line.
const PATIENCE: Duration = Duration::from_secs(60);

/// A verb that does not end by itself, and its lines.
struct Follower {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Follower {
    fn start(bench: &Bench, arguments: &[&str]) -> Result<Self> {
        let mut child = bench.command(arguments)?.spawn()?;
        let out = child.stdout.take().context("stdout")?;
        Ok(Self {
            lines: BufReader::new(out).lines(),
            _child: child,
        })
    }

    async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.context("no line in time")??.context("the verb ended")
    }

    /// Lines up to the first that holds all parts.
    async fn until(&mut self, parts: &[&str]) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        loop {
            let line = self.line().await?;
            let found = parts.iter().all(|part| line.contains(part));
            seen.push(line);
            if found {
                return Ok(seen);
            }
        }
    }
}

#[tokio::test]
async fn changes_are_followed_through_a_restart() -> Result<()> {
    let mut bench = Bench::open().await?;
    let first = bench.run(&["run", "/say one"]).await?.with(0)?;
    let mut follower = Follower::start(&bench, &["--json", "ps", "--follow"])?;
    let known = follower.until(&[r#""type":"live""#]).await?;
    ensure!(known.len() == 2 && known[0].contains(first.last_line()), "{known:?}");
    let session: Value = serde_json::from_str(&known[0])?;
    ensure!(session["status"] == "idle" && session["perennial"]["head"].as_u64() > Some(0));

    bench.restart().await?;
    let second = bench.run(&["run", "/say two"]).await?.with(0)?;
    let news = follower.until(&[second.last_line(), "end_turn"]).await?;
    ensure!(
        !news.iter().any(|line| line.contains(first.last_line())),
        "it went on where it was: {news:?}"
    );
    Ok(())
}

#[tokio::test]
async fn people_get_a_line_for_every_change() -> Result<()> {
    let bench = Bench::open().await?;
    let mut follower = Follower::start(&bench, &["ps", "-f"])?;
    let ran = bench.run(&["run", "/say one"]).await?.with(0)?;
    let session = ran.last_line();
    let seen = follower.until(&[session, "running"]).await?;
    ensure!(seen.iter().all(|line| line.contains(session)), "{seen:?}");
    follower.until(&[session, "idle"]).await?;
    bench.run(&["session", "delete", session]).await?.with(0)?;
    let last = follower.until(&["deleted"]).await?;
    ensure!(last.iter().all(|line| line.contains(session)), "{last:?}");
    bench.run(&["ps", "--follow", "--all"]).await?.with(2)?;
    Ok(())
}
