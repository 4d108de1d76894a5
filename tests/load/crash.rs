//! (d): a worker with 16 sessions in flight is killed, another one stands by on the same database: how long until the first
//! and until the last of them goes on, by the database's own clock on this machine. Nothing that was recorded may be gone.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use perennial_schema::Timestamp;
use perennial_tests::client::Client;
use serde_json::Value;

use crate::postgres::Database;
use crate::processes::Cluster;
use crate::report::{Goal, Report};

const SCENARIO: &str = "kill -9 of a worker with 16 sessions";
const SESSIONS: usize = 16;
/// Steps of each session's turn, 25 ms apart: longer than everything that is measured.
const STEPS: usize = 200;
/// How long the other workers are given to settle.
const SETTLE: Duration = Duration::from_millis(1_500);
/// A statement that was on its way when its sender died may still commit: such a record continues nothing.
const IN_FLIGHT_MICROS: i64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// One kill: a server, the worker that works, and another one.
pub(crate) async fn round(report: &mut Report, database: &Database) -> Result<()> {
    let mut cluster = Cluster::start(database, 1, &[]).await?;
    takeover(report, SCENARIO, database, &mut cluster, 1).await
}

/// The same in a cluster that has no worker yet: one works, and so many others stand by when it is killed.
pub(crate) async fn takeover(
    report: &mut Report,
    scenario: &'static str,
    database: &Database,
    cluster: &mut Cluster,
    others: usize,
) -> Result<()> {
    cluster.worker()?;
    database.until_owners(1, PATIENCE).await?;
    let sessions = start(cluster.door(0)).await?;
    until_at_work(cluster, &sessions).await?;
    for _ in 0..others {
        cluster.worker()?;
    }
    database.until_owners(1 + i64::try_from(others)?, PATIENCE).await?;
    tokio::time::sleep(SETTLE).await;

    let before = logs(cluster.door(0), &sessions).await?;
    let killed = Timestamp::from_micros(i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_micros())?);
    cluster.kill_worker(0).await?;
    let continued = continued(cluster, &sessions, killed).await?;
    let after = logs(cluster.door(0), &sessions).await?;
    let kept = |(before, after): (&Vec<Value>, &Vec<Value>)| after.starts_with(before);
    let lost = before.iter().zip(&after).filter(|pair| !kept((pair.0, pair.1))).count();

    let least = continued.iter().copied().fold(f64::INFINITY, f64::min);
    let most = continued.iter().copied().fold(0.0, f64::max);
    report.judge(scenario, "first session continued", "ms", Goal::AtMost(100.0), least);
    report.judge(scenario, "last session continued", "ms", Goal::AtMost(200.0), most);
    report.judge(
        scenario,
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

/// Waits until every session is in the midst of its turn.
async fn until_at_work(cluster: &Cluster, sessions: &[String]) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let logs = logs(cluster.door(0), sessions).await?;
        if logs.iter().all(|log| log.len() > 10) {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "a session does not run: {}",
            cluster.said()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn logs(client: &Client, sessions: &[String]) -> Result<Vec<Vec<Value>>> {
    let mut logs = Vec::with_capacity(sessions.len());
    for session in sessions {
        logs.push(client.log(session).await?);
    }
    Ok(logs)
}

/// Milliseconds from the kill to each session's next record.
async fn continued(cluster: &Cluster, sessions: &[String], killed: Timestamp) -> Result<Vec<f64>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // Reading costs the machine what is being measured: wait first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let logs = logs(cluster.door(0), sessions).await?;
        let times: Vec<Option<f64>> = logs.iter().map(|log| next_after(log, killed)).collect::<Result<_>>()?;
        if let Some(times) = times.into_iter().collect() {
            return Ok(times);
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "a session does not go on: {}",
            cluster.said()
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
