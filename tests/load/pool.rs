//! (l): a pool of workers that grows from none and shrinks to none. First one session is written to, then sixteen at once, each of
//! which needs a worker of its own; then nobody writes any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::Client;
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::processes::descendants;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::postgres::Database;
use crate::processes::Cluster;
use crate::report::{Goal, Report};

const POOL: &str = "workers from 0 to 16 and back";
/// How long a worker that is not wanted is kept.
const IDLE_MS: u64 = 1_000;
/// From zero to the first turn.
const FIRST_MS: f64 = 300.0;
const PATIENCE: Duration = Duration::from_secs(120);

/// One round.
pub(crate) async fn round(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    // The model thinks for longer than it takes to start them all, so nobody's work is done by another's worker.
    let (sessions, script) = if quick {
        (4, "/sleep 10000\n/say done")
    } else {
        (16, "/sleep 15000\n/say done")
    };
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let idle = IDLE_MS.to_string();
    let env = [
        ("ANTHROPIC_BASE_URL", model.base_url()),
        ("ANTHROPIC_API_KEY", "sk-bench"),
        ("PERENNIAL_POOL_IDLE_MS", &idle),
        ("PERENNIAL_ALLOW_LOCAL", "true"),
    ];
    let most = sessions.to_string();
    let flags = ["--min", "0", "--max", &most, "--slots", "1"];
    let cluster = Cluster::keeping(database, 1, &env, &flags).await?;
    let done = measure(report, &cluster, &model, sessions, script).await;
    done.with_context(|| cluster.said())
}

async fn measure(
    report: &mut Report,
    cluster: &Cluster,
    model: &ModelServer,
    count: usize,
    script: &str,
) -> Result<()> {
    let client = cluster.door(0);
    let (agent, environment) = client.agent_and_environment("claude-bench").await?;
    until(cluster, 0).await?;
    let session = client.session(&agent, &environment).await?;
    let sent = Instant::now();
    client.say(&session, "/say hello").await?;
    ensure!(answers(client, &session).await? == 1, "{session} was not answered");
    let first = model.last_arrival().context("no model request")?;
    report.judge(
        POOL,
        "one session: POST to model request",
        "ms",
        Goal::AtMost(FIRST_MS),
        millis(sent, first),
    );
    until(cluster, 0).await?;

    let asked_before = model.requests().len();
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        sessions.push(client.session(&agent, &environment).await?);
    }
    let sent = Instant::now();
    let mut writers = JoinSet::new();
    for session in sessions.clone() {
        let (client, script) = (client.clone(), script.to_owned());
        writers.spawn(async move { client.say(&session, &script).await });
    }
    while let Some(said) = writers.join_next().await {
        said??;
    }
    let mut most = 0;
    while model.requests().len() < asked_before + count {
        most = most.max(workers(cluster).len());
        ensure!(sent.elapsed() < PATIENCE, "not every session's model was asked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    most = most.max(workers(cluster).len());
    let asked: Vec<Instant> = model
        .requests()
        .iter()
        .skip(asked_before)
        .map(|request| request.at)
        .collect();
    let what = |what: &str| format!("{count} sessions: {what}");
    let first = asked.iter().min().context("no model request")?;
    let last = asked.iter().max().context("no model request")?;
    report.add(
        POOL,
        &what("POST to the first model request"),
        "ms",
        millis(sent, *first),
    );
    report.add(POOL, &what("POST to the last model request"), "ms", millis(sent, *last));
    report.add(POOL, &what("workers at once"), "workers", most as f64);

    let mut answered = HashMap::new();
    for session in &sessions {
        *answered.entry(answers(client, session).await?).or_insert(0usize) += 1;
    }
    let rested = Instant::now();
    until(cluster, 0).await?;
    let what_zero = format!("the last answer to no worker, {IDLE_MS} ms of it on purpose");
    report.add(POOL, &what(&what_zero), "ms", millis(rested, Instant::now()));
    let right = answered.get(&1).copied().unwrap_or(0);
    report.judge(
        POOL,
        &what("not answered exactly once"),
        "sessions",
        Goal::AtMost(0.0),
        (count - right) as f64,
    );
    let again = model.requests().len() - asked_before - count;
    report.judge(
        POOL,
        &what("model requests made again"),
        "requests",
        Goal::AtMost(0.0),
        again as f64,
    );
    Ok(())
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

/// How often a session that has come to rest was answered.
async fn answers(client: &Client, session: &str) -> Result<usize> {
    let log: Vec<Value> = client.until_idle(session, 0, PATIENCE).await?.0;
    let last = log.last().context("an empty log")?;
    ensure!(last["stop_reason"]["type"] == "end_turn", "{session} ended with {last}");
    Ok(log.iter().filter(|event| event["type"] == "agent.message").count())
}

async fn until(cluster: &Cluster, count: usize) -> Result<()> {
    let begun = Instant::now();
    while workers(cluster).len() != count {
        ensure!(begun.elapsed() < PATIENCE, "there are {:?} workers", workers(cluster));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The workers that the servers keep.
fn workers(cluster: &Cluster) -> Vec<u32> {
    let below = cluster.servers().into_iter().flat_map(descendants);
    below.filter(|pid| is_worker(*pid)).collect()
}

fn is_worker(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"worker")
}
