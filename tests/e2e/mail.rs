//! Mail under SIGKILL: around a send, a hand-over and its note. Each message is in its receiver's log exactly once, in the order
//! in which it was sent, and what was acknowledged is never lost (I9, F4).
//!
//! `PERENNIAL_TORTURE=1` runs the full counts; `make test` runs a tenth.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use perennial_tests::client::{Client, id};
use perennial_tests::server::Up;
use serde_json::{Value, json};
use sqlx::Connection as _;

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

/// What was under way when a process was killed.
#[derive(Clone, Copy, Default)]
struct Caught {
    kills: u64,
    messages: u64,
    /// Sends without an answer.
    sends: u64,
    /// Messages a postman had taken and not settled.
    hand_overs: u64,
}

impl Caught {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.messages += other.messages;
        self.sends += other.sends;
        self.hand_overs += other.hand_overs;
    }
}

/// Everybody is written to at once; the server dies at that point, and the next one finds out what became of it all.
async fn life(data: &Path, mailboxes: Vec<String>, point: &str) -> Result<Caught> {
    let round = |mailbox| Round {
        mailbox,
        sent: Vec::new(),
    };
    let mut rounds: Vec<Round> = mailboxes.into_iter().map(round).collect();
    let dying = Up::on(data).env("PERENNIAL_KILL_AT", point);
    let mut server = dying.start().await?;
    let client = server.client.clone();
    let sending = join_all(rounds.iter_mut().map(|round| round.send(&client, LETTERS))).await;
    server
        .ended(PATIENCE)
        .await
        .with_context(|| format!("{point} was never hit; sending: {sending:?}"))?;
    let caught = Caught {
        kills: 1,
        messages: rounds.len() as u64 * u64::from(LETTERS),
        sends: sending.iter().filter(|sent| sent.is_err()).count() as u64,
        hand_overs: taken(data).await?,
    };
    let server = Up::on(data).start().await?;
    for sent in join_all(rounds.iter_mut().map(|round| round.send(&server.client, LETTERS))).await {
        sent?;
    }
    let mut sessions = Vec::with_capacity(rounds.len());
    for round in &rounds {
        let session = round.delivered(&server.client).await?;
        server.client.until_idle(&session, 0, PATIENCE).await?;
        sessions.push(server.client.log(&session).await?);
    }
    server.kill().await?;
    for (round, log) in rounds.iter().zip(&sessions) {
        round.check(log)?;
    }
    Ok(caught)
}

/// Messages whose hand-over was begun and is not noted, as the dead process left them.
async fn taken(data: &Path) -> Result<u64> {
    let url = format!("sqlite://{}", data.join("perennial.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await?;
    let taken: i64 =
        sqlx::query_scalar("SELECT count(*) FROM messages WHERE state = 'queued' AND direct AND round > 0")
            .fetch_one(&mut database)
            .await?;
    database.close().await?;
    Ok(u64::try_from(taken)?)
}

/// Lives of one data directory, one after the other; in each, so many are written to.
async fn lives(first: usize, lives: usize, crowd: usize) -> Result<Caught> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let server = Up::on(&data).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let mut planned = Vec::new();
    for at in first..first + lives {
        let point = POINTS[at % POINTS.len()];
        let mut mailboxes = Vec::with_capacity(crowd);
        for one in at..at + crowd {
            // Only mail for an agent finds its session by a thread.
            if one % 2 == 0 || (crowd == 1 && point == "mail.thread.after") {
                let name = format!("agent-{at}-{one}");
                let body = json!({"name": name, "model": "rehearsal-1", "mail": {"environment_id": environment}});
                server.client.post("/v1/agents", &body).await?.ok()?;
                mailboxes.push(format!("agent/{name}"));
            } else {
                mailboxes.push(format!(
                    "session/{}",
                    server.client.session(&agent, &environment).await?
                ));
            }
        }
        // The first letters, or in the midst of many.
        let hit = if crowd == 1 { at % 3 + 1 } else { at * 7 % crowd + 1 };
        planned.push((mailboxes, format!("{point}={hit}")));
    }
    server.kill().await?;
    let mut caught = Caught::default();
    for (mailboxes, point) in planned {
        caught.add(life(&data, mailboxes, &point).await.with_context(|| point)?);
    }
    Ok(caught)
}

#[tokio::test]
async fn sigkill_around_mail_loses_and_repeats_nothing() -> Result<()> {
    // A postman's hold on what it took ends seconds after its death: houses wait for that side by side.
    let torture = std::env::var_os("PERENNIAL_TORTURE").is_some();
    let (houses, batches, crowd): (usize, usize, usize) = if torture { (4, 5, 32) } else { (1, 1, 1) };
    let mut caught = Caught::default();
    for batch in 0..batches {
        let first = |house| (batch * houses + house) * POINTS.len();
        for lived in join_all((0..houses).map(|house| lives(first(house), POINTS.len(), crowd))).await {
            caught.add(lived?);
        }
        eprintln!(
            "mail: {} SIGKILLs around {} messages, {} sends and {} hand-overs under way",
            caught.kills, caught.messages, caught.sends, caught.hand_overs
        );
    }
    let Caught {
        kills,
        messages,
        sends,
        hand_overs,
    } = caught;
    println!(
        "\nring 2, mail: {kills} SIGKILLs around {messages} messages, {sends} sends and {hand_overs} hand-overs under way; 0 lost, \
         0 repeated, 0 out of order"
    );
    Ok(())
}
