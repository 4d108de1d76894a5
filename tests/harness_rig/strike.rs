//! When and whom a SIGKILL hits.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perennial_tests::client::Client;
use perennial_tests::models::ModelServer;
use perennial_tests::processes::{descendants, name};
use perennial_tests::server::Server;
use perennial_tests::sse::Stream;
use rand::Rng;
use rand::rngs::StdRng;

/// A moment of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The model's answer comes in.
    Speaking,
    /// A tool runs.
    Calling,
    /// A result is in the log, the next request is not at the vendor.
    Answered,
    /// Any; only the harness process dies.
    HarnessAlone,
}

/// One strike, decided beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) moment: Moment,
    /// The how-manieth request, call or result it waits for.
    nth: usize,
    /// And then so long.
    after: Duration,
}

impl Strike {
    pub(crate) fn draw(moment: Moment, rng: &mut StdRng) -> Self {
        let (nth, millis) = match moment {
            // 20 tokens of 10 ms each.
            Moment::Speaking => (rng.random_range(1..=3), 220),
            // A call of 0.2 s, then one of none beside one of 0.2 s.
            Moment::Calling => (rng.random_range(1..=2), 200),
            Moment::Answered => (rng.random_range(1..=3), 20),
            Moment::HarnessAlone => (1, 2_000),
        };
        Self {
            moment,
            nth,
            after: Duration::from_millis(rng.random_range(0..millis)),
        }
    }

    /// Half of the kills between result and request are at the very point: `PERENNIAL_KILL_AT`.
    pub(crate) fn failpoint(&self) -> Option<String> {
        let exact = self.moment == Moment::Answered && self.after.as_millis().is_multiple_of(2);
        exact.then(|| format!("worker.result.after={}", self.nth.min(2)))
    }

    /// Waits for the moment.
    pub(crate) async fn wait(&self, client: &Client, session: &str, model: &ModelServer) -> Result<()> {
        match self.moment {
            Moment::Speaking => {
                while model.requests().len() < self.nth {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Moment::Calling => self.event(client, session, "tool.dispatched").await?,
            Moment::Answered => self.event(client, session, "agent.tool_result").await?,
            Moment::HarnessAlone => self.event(client, session, "span.model_request_start").await?,
        }
        tokio::time::sleep(self.after).await;
        Ok(())
    }

    async fn event(&self, client: &Client, session: &str, kind: &str) -> Result<()> {
        let mut stream: Stream = client.stream(session, "?after=0&include=extensions", None).await?;
        let mut seen = 0;
        while let Some(frame) = stream.next().await? {
            seen += usize::from(frame.event == kind);
            if seen == self.nth {
                return Ok(());
            }
        }
        bail!("the stream ended before {kind}")
    }
}

/// Kills the harness process below a server; false when there is none now.
pub(crate) fn kill_harness(server: &Server, program: &str) -> Result<bool> {
    let Some(process) = descendants(server.pid)
        .into_iter()
        .find(|process| name(*process) == program)
    else {
        return Ok(false);
    };
    let pid = Pid::from_raw(i32::try_from(process).context("a pid")?);
    Ok(kill(pid, Signal::SIGKILL).is_ok())
}

/// The harness processes below a server.
pub(crate) fn harnesses(server: &Server, program: &str) -> usize {
    descendants(server.pid)
        .into_iter()
        .filter(|process| name(*process) == program)
        .count()
}
