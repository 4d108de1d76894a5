//! (n): what is promised of one process, on a cluster as one installs it: two servers, four workers, one executor, Postgres and NATS.
//! Steps go through the API, the workers' rehearsal and a tool that asks the database one thing; the limit writes the records only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id, message};
use perennial_tests::models::{ModelServer, Vendor};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::limits;
use crate::mail::{NODES, WORKERS, Warm, at_work};
use crate::postgres::Database;
use crate::processes::Cluster;
use crate::report::{Goal, Report, percentile};
use crate::sample::{Load, STEPS};
use crate::steps::wal_a_step;
use crate::{crash, fanout, usage};

const ASKING: &str = "POST to model request, 2 servers and 4 workers";
const STEPS_THERE: &str = "steps, 2 servers and 4 workers";
const REST: &str = "at rest, 2 servers and 4 workers";
const TAKEOVER: &str = "kill -9 of a worker with 16 sessions, 2 servers and 4 workers";
const PATIENCE: Duration = Duration::from_secs(120);
/// How long they are left alone before their memory is read.
const CALM: Duration = Duration::from_secs(1);
/// How soon a client that was told to come back does.
const AGAIN: Duration = Duration::from_millis(100);
/// Turns that are not counted.
const WARM_UP: usize = 8;

/// One round on a cluster that works, and one kill on another.
pub(crate) async fn round(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let cluster = at_work(database, &model).await?;
    tokio::time::sleep(CALM).await;
    rest(report, &cluster)?;
    asking(report, &cluster, &model, quick)
        .await
        .with_context(|| cluster.said())?;
    let read = fanout::cluster(report, &cluster, quick).await;
    read.with_context(|| cluster.said())?;
    for (at_once, sessions) in [(1, 8), (16, 64), (128, 256)] {
        let sessions = if quick { at_once } else { sessions };
        let load = Load { at_once, sessions };
        let done = steps(report, &cluster, database, load).await;
        done.with_context(|| cluster.said())?;
    }
    drop(cluster);
    // A database of its own: the owners of before are no neighbours.
    let Some(database) = Database::start().await? else {
        return Ok(());
    };
    let mut cluster = Cluster::start(&database, NODES, &[]).await?;
    crash::takeover(report, TAKEOVER, &database, &mut cluster, WORKERS - 1).await
}

fn rest(report: &mut Report, cluster: &Cluster) -> Result<()> {
    for (what, pids) in [("a server", cluster.servers()), ("a worker", cluster.workers())] {
        let mut kib = Vec::with_capacity(pids.len());
        for pid in pids {
            kib.push(usage::pss_kib(pid)?);
        }
        let most = kib.iter().copied().fold(0.0, f64::max);
        report.judge(REST, what, "MiB", Goal::AtMost(30.0), most / 1024.0);
    }
    Ok(())
}

/// The servers in turns, the same session.
async fn asking(report: &mut Report, cluster: &Cluster, model: &ModelServer, quick: bool) -> Result<()> {
    let mut warm = Warm::open(cluster.door(0)).await?;
    let mut times = Vec::new();
    for turn in 0..WARM_UP + if quick { 10 } else { 200 } {
        let took = warm.asked(cluster.door(turn), model).await?;
        if turn >= WARM_UP {
            times.push(took);
        }
    }
    let p50 = percentile(&mut times, 0.5);
    report.judge(ASKING, "native, warm", "p50 ms", Goal::AtMost(5.0), p50);
    report.add(ASKING, "native, warm", "p99 ms", percentile(&mut times, 0.99));
    Ok(())
}

/// So many sessions at once play a turn of [`STEPS`] steps.
async fn steps(report: &mut Report, cluster: &Cluster, database: &Database, load: Load) -> Result<()> {
    let name = |what: &str| format!("{what}, {} at once", load.at_once);
    limits::postgres::prepare(database.options()).await?;
    let server = Some(database.pid()?);
    let writers = limits::postgres::writers(database.options()).await?;
    let limit = name("limit group");
    let group = Load {
        at_once: load.at_once,
        sessions: 768.min(load.sessions * 3),
    };
    limits::group(group, server, writers)
        .await?
        .report(report, STEPS_THERE, &limit);

    let sessions = sessions(cluster.door(0), load.sessions).await?;
    let cpu = || {
        let here = usage::own_cpu_ms() + server.map_or(0.0, usage::tree_cpu_ms);
        here + cluster.pids().into_iter().map(usage::tree_cpu_ms).sum::<f64>()
    };
    let (wal_before, cpu_before, started) = (database.wal_position().await?, cpu(), Instant::now());
    let slots = Arc::new(Semaphore::new(load.at_once));
    let mut turns = JoinSet::new();
    for (turn, session) in sessions.into_iter().enumerate() {
        let (client, slots) = (cluster.door(turn).clone(), slots.clone());
        turns.spawn(async move {
            let _slot = slots.acquire().await?;
            play(&client, &session).await
        });
    }
    let mut put_off = 0;
    while let Some(played) = turns.join_next().await {
        put_off += played??;
    }
    let (elapsed, cpu_ms) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    let wal = wal_a_step(load, wal_before, database.wal_position().await?);
    let steps = (load.sessions * STEPS) as f64;
    let there = name("cluster");
    report.add(STEPS_THERE, &there, "steps/s", steps / elapsed);
    report.add(STEPS_THERE, &there, "cpu ms", cpu_ms / steps);
    report.add(STEPS_THERE, &there, "WAL B/step", wal);
    report.add(STEPS_THERE, &there, "requests told to come back", put_off as f64);
    report.ratio(STEPS_THERE, &there, &limit, "steps/s", None);
    Ok(())
}

async fn sessions(client: &Client, count: usize) -> Result<Vec<String>> {
    let (_, environment) = client.agent_and_environment("rehearsal-1").await?;
    let agent = json!({"name": "stepper", "model": "rehearsal-1", "tools": [{"type": "mail_toolset"}]});
    let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        sessions.push(client.session(&agent, &environment).await?);
    }
    Ok(sessions)
}

/// A turn from its message to its end; how often this client was told to come back meanwhile.
async fn play(client: &Client, session: &str) -> Result<usize> {
    let begun = Instant::now();
    let (path, key) = (format!("/v1/sessions/{session}/events"), Uuid::now_v7().to_string());
    let body = message(&"/tool read_mail {}\n/then\n".repeat(STEPS));
    let mut put_off = 0;
    loop {
        let answer = client.post_once(&path, &key, &body).await?;
        if answer.status != 503 || begun.elapsed() > PATIENCE {
            answer.ok()?;
            break;
        }
        put_off += 1;
        tokio::time::sleep(AGAIN).await;
    }
    let log = loop {
        match client.until_idle(session, 0, PATIENCE).await {
            Ok((log, _)) => break log,
            // Of the stream, or of the row that says whether it rests.
            Err(error) if format!("{error:#}").contains("503") && begun.elapsed() < PATIENCE => {
                put_off += 1;
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    };
    let results = log.iter().filter(|event| event["type"] == "agent.tool_result").count();
    ensure!(results == STEPS, "{results} steps of {STEPS} in {session}");
    Ok(put_off)
}
