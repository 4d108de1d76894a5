//! Mail under SIGKILL: around a send, a hand-over and its note. Each message is in its receiver's log exactly once, in the order
//! in which it was sent, and what was acknowledged is never lost (I9, F4).
//!
//! `PERENNIAL_TORTURE=1` runs the full counts; `make test` runs a tenth.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id};
use perennial_tests::server::Up;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of one life; each kill is in the midst of them.
const LETTERS: u32 = 4;
const POINTS: [&str; 6] = [
    "mail.send.before",
    "mail.send.after",
    "mail.thread.after",
    "mail.append.before",
    "mail.append.after",
    "mail.settle.before",
];

/// Who is written to, and what was acknowledged.
struct Round {
    mailbox: String,
    sent: Vec<String>,
}

impl Round {
    fn path(&self) -> String {
        format!("/v1/mailboxes/{}/messages", self.mailbox)
    }

    /// Sends what is missing, one after the other, until the server is gone.
    async fn send(&mut self, client: &Client, upto: u32) -> Result<()> {
        while (self.sent.len() as u32) < upto {
            let number = self.sent.len();
            let body = json!({"content": format!("/say {number}"), "thread": "t"});
            let key = format!("{}-{number}", self.mailbox);
            let sent = client.post_once(&self.path(), &key, &body).await?.ok()?;
            self.sent.push(id(&sent)?);
        }
        Ok(())
    }

    /// Waits until all of it is delivered; the session that has it.
    async fn delivered(&self, client: &Client) -> Result<String> {
        let started = Instant::now();
        loop {
            let listed = client.get(&format!("{}?limit=100", self.path())).await?.ok()?;
            let mail = listed["data"].as_array().context("a list")?;
            if mail.len() == self.sent.len() && mail.iter().all(|mail| mail["state"] == "delivered") {
                let sessions: std::collections::BTreeSet<&str> =
                    mail.iter().filter_map(|mail| mail["session_id"].as_str()).collect();
                ensure!(sessions.len() == 1, "one thread, several sessions: {listed}");
                return Ok(sessions.into_iter().collect());
            }
            ensure!(started.elapsed() < PATIENCE, "not all mail was delivered: {listed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Exactly once, in order, and processed.
    fn check(&self, log: &[Value]) -> Result<()> {
        let received: Vec<&str> = log
            .iter()
            .filter(|event| event["type"] == "mail.received")
            .filter_map(|event| event["payload"]["message_id"].as_str())
            .collect();
        ensure!(received == self.sent, "sent {:?}, received {received:?}", self.sent);
        let processed = log
            .iter()
            .filter(|event| event["type"] == "input.processed")
            .filter_map(|event| event["payload"]["event_ids"].as_array())
            .map(Vec::len)
            .sum::<usize>();
        ensure!(
            processed == self.sent.len(),
            "{processed} of {} inputs were processed",
            self.sent.len()
        );
        Ok(())
    }
}

async fn life(data: &Path, mailbox: String, point: &str) -> Result<()> {
    let mut round = Round {
        mailbox,
        sent: Vec::new(),
    };
    let dying = Up::on(data).env("PERENNIAL_KILL_AT", point);
    let mut server = dying.start().await?;
    let sending = round.send(&server.client.clone(), LETTERS).await;
    server
        .ended(Duration::from_secs(10))
        .await
        .with_context(|| format!("{point} was never hit; sending: {sending:?}"))?;
    let server = Up::on(data).start().await?;
    round.send(&server.client, LETTERS).await?;
    let session = round.delivered(&server.client).await?;
    server.client.until_idle(&session, 0, PATIENCE).await?;
    let log = server.client.log(&session).await?;
    server.kill().await?;
    round.check(&log)
}

#[tokio::test]
async fn sigkill_around_mail_loses_and_repeats_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let server = Up::on(&data).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let rounds = if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        10
    } else {
        1
    };
    let mut lives = Vec::new();
    for (at, point) in (0..rounds).flat_map(|_| POINTS).enumerate() {
        let hit = at % 3 + 1;
        // Only mail for an agent finds its session by a thread.
        let mailbox = if at % 2 == 0 || point == "mail.thread.after" {
            let name = format!("agent-{at}");
            let body = json!({"name": name, "model": "rehearsal-1", "mail": {"environment_id": environment}});
            server.client.post("/v1/agents", &body).await?.ok()?;
            format!("agent/{name}")
        } else {
            format!("session/{}", server.client.session(&agent, &environment).await?)
        };
        lives.push((mailbox, format!("{point}={hit}")));
    }
    server.kill().await?;
    let kills = lives.len();
    for (mailbox, point) in lives {
        life(&data, mailbox, &point).await.with_context(|| point)?;
    }
    println!(
        "\nring 2, mail: {kills} SIGKILLs around {} messages, 0 lost, 0 repeated, 0 out of order",
        kills as u32 * LETTERS
    );
    Ok(())
}
