//! (d): a worker with 16 sessions in flight is killed, another one stands by on the same database: how long until the first
//! and until the last of them goes on, by the database's own clock on this machine. Nothing that was recorded may be gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::process::{Process, Program};
use perennial_schema::Timestamp;
use perennial_tests::client::Client;
use perennial_tests::nats::Nats;
use serde_json::Value;

use crate::postgres::Database;
use crate::report::{Goal, Report};

const SCENARIO: &str = "kill -9 of a worker with 16 sessions";
const SESSIONS: usize = 16;
/// Steps of each session's turn, 25 ms apart: longer than everything that is measured.
const STEPS: usize = 200;
/// How long the second worker is given to settle, and the first to get going.
const SETTLE: Duration = Duration::from_millis(1_500);
/// A statement that was on its way when its sender died may still commit: such a record continues nothing.
const IN_FLIGHT_MICROS: i64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    dir: PathBuf,
    args: Vec<String>,
}

impl Cluster {
    fn program(&self, verb: &'static str, log: &str, more: &[&str]) -> Program {
        let args = if verb == "executor" {
            &[][..]
        } else {
            self.args.as_slice()
        };
        Program {
            verb,
            data_dir: self.dir.join("data"),
            log_file: self.dir.join(log),
            env: Vec::new(),
            args: args
                .iter()
                .cloned()
                .chain(more.iter().map(|&arg| arg.to_owned()))
                .collect(),
        }
    }

    fn worker(&self, log: &str) -> Result<Process> {
        self.program("worker", log, &["--allow-local"]).start()
    }
}

/// One kill.
pub(crate) async fn round(report: &mut Report, database: &Database) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let nats = Nats::start().await?;
    let bus = nats.iter().flat_map(|nats| ["--nats-url".to_owned(), nats.url()]);
    let cluster = Cluster {
        dir: dir.path().to_owned(),
        args: ["--database-url".to_owned(), database.url().to_owned()]
            .into_iter()
            .chain(bus)
            .collect(),
    };
    let (_serve, url) = cluster
        .program("serve", "serve.log", &["--listen", "127.0.0.1:0"])
        .start_listening()
        .await?;
    let _executor = cluster.program("executor", "executor.log", &[]).start()?;
    let key = std::fs::read_to_string(dir.path().join("data/key")).context("no key file")?;
    let client = Client::new(&url, key.trim())?;
    let mut first = cluster.worker("first.log")?;
    database.until_owners(1, PATIENCE).await?;
    let sessions = start(&client).await?;
    tokio::time::sleep(SETTLE).await;
    let _second = cluster.worker("second.log")?;
    database.until_owners(2, PATIENCE).await?;
    tokio::time::sleep(SETTLE).await;

    let before = logs(&client, &sessions).await?;
    ensure!(
        before.iter().all(|log| log.len() > 10),
        "a session does not run: {}",
        said(dir.path())
    );
    let killed = Timestamp::from_micros(i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_micros())?);
    first.kill().await?;
    let continued = continued(&client, &sessions, killed, dir.path()).await?;
    let after = logs(&client, &sessions).await?;
    let kept = |(before, after): (&Vec<Value>, &Vec<Value>)| after.starts_with(before);
    let lost = before.iter().zip(&after).filter(|pair| !kept((pair.0, pair.1))).count();

    let least = continued.iter().copied().fold(f64::INFINITY, f64::min);
    let most = continued.iter().copied().fold(0.0, f64::max);
    report.judge(SCENARIO, "first session continued", "ms", Goal::AtMost(100.0), least);
    report.judge(SCENARIO, "last session continued", "ms", Goal::AtMost(200.0), most);
    report.judge(
        SCENARIO,
        "logs that lost something",
        "of 16",
        Goal::AtMost(0.0),
        lost as f64,
    );
    Ok(())
}

async fn start(client: &Client) -> Result<Vec<String>> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    let script = "/sleep 25\n/tool glob {\"pattern\":\"*\"}\n/then\n".repeat(STEPS);
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let session = client.session(&agent, &environment).await?;
        client.say(&session, &script).await?;
        sessions.push(session);
    }
    Ok(sessions)
}

async fn logs(client: &Client, sessions: &[String]) -> Result<Vec<Vec<Value>>> {
    let mut logs = Vec::with_capacity(sessions.len());
    for session in sessions {
        logs.push(client.log(session).await?);
    }
    Ok(logs)
}

/// Milliseconds from the kill to each session's next record.
async fn continued(client: &Client, sessions: &[String], killed: Timestamp, dir: &Path) -> Result<Vec<f64>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // Reading costs the machine what is being measured: wait first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let logs = logs(client, sessions).await?;
        let times: Vec<Option<f64>> = logs.iter().map(|log| next_after(log, killed)).collect::<Result<_>>()?;
        if let Some(times) = times.into_iter().collect() {
            return Ok(times);
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "a session does not go on: {}",
            said(dir)
        );
    }
}

fn next_after(log: &[Value], killed: Timestamp) -> Result<Option<f64>> {
    for event in log {
        let at: Timestamp = serde_json::from_value(event["created_at"].clone())?;
        let micros = at.micros() - killed.micros();
        if micros > IN_FLIGHT_MICROS {
            return Ok(Some(micros as f64 / 1000.0));
        }
    }
    Ok(None)
}

/// What the processes said, for a failure.
fn said(dir: &Path) -> String {
    ["serve.log", "first.log", "second.log", "executor.log"]
        .iter()
        .map(|name| {
            format!(
                "{name}:\n{}\n",
                std::fs::read_to_string(dir.join(name)).unwrap_or_default()
            )
        })
        .collect()
}
