//! (g), (h): what a user waits for and what a server at rest costs, through the real binary on SQLite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::{Server, Up};
use tokio::task::JoinSet;

use crate::report::{Goal, Report, percentile};
use crate::usage::pss_kib;

const ASKING: &str = "POST to model request";
const REST: &str = "at rest";

/// How long a server is left alone before its memory is read.
const CALM: Duration = Duration::from_secs(1);
/// Requests at once while sessions are created.
const CREATORS: usize = 16;

/// From the moment the POST is sent to the moment the provider has the whole request; the same session, so warm. And one
/// whole step with a tool call of a real executor, for scale.
pub(crate) async fn asking(report: &mut Report, quick: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let up = Up::on(&dir.path().join("data"))
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench");
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_and_environment("claude-bench").await?;
    let session = server.client.session(&agent, &environment).await?;
    let mut head = 0;
    let mut times = Vec::new();
    for _ in 0..if quick { 10 } else { 200 } {
        let sent = Instant::now();
        server.client.say(&session, "hello").await?;
        (_, head) = server
            .client
            .until_idle(&session, head, Duration::from_secs(10))
            .await?;
        let arrived = model.last_arrival().context("no model request")?;
        times.push(arrived.saturating_duration_since(sent).as_secs_f64() * 1000.0);
    }
    let p50 = percentile(&mut times, 0.5);
    report.judge(ASKING, "native, warm", "p50 ms", Goal::AtMost(5.0), p50);
    report.add(ASKING, "native, warm", "p99 ms", percentile(&mut times, 0.99));
    server.kill().await
}

/// Start-up, and memory with nothing, with sessions at rest, with open streams.
pub(crate) async fn rest(report: &mut Report, quick: bool) -> Result<()> {
    let (starts, sessions, streams) = if quick { (3, 200, 50) } else { (10, 10_000, 1_000) };
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"));
    up.start().await?.kill().await?;
    start_up(report, &up, starts).await?;

    let server = up.start().await?;
    let rest = calm_kib(&server).await?;
    report.judge(REST, "server", "MiB", Goal::AtMost(30.0), rest / 1024.0);
    let session = create(&server, sessions).await?;
    // What creating them left behind belongs to the allocator, not to them: a server that starts over them tells.
    server.kill().await?;
    let server = up.start().await?;
    let idle = calm_kib(&server).await?;
    let what = format!("{sessions} idle sessions, each");
    report.judge(REST, &what, "KiB", Goal::AtMost(0.1), (idle - rest) / sessions as f64);

    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(server.client.stream(&session, "", None).await?);
    }
    let streaming = calm_kib(&server).await?;
    let what = format!("{streams} open streams, each");
    report.judge(
        REST,
        &what,
        "KiB",
        Goal::AtMost(25.0),
        (streaming - idle) / streams as f64,
    );
    report.add(
        REST,
        &format!("server with {streams} open streams"),
        "MiB",
        streaming / 1024.0,
    );
    drop(open);
    server.kill().await
}

/// From spawn to the line that says it listens, on a data directory that exists.
async fn start_up(report: &mut Report, up: &Up, starts: usize) -> Result<()> {
    for _ in 0..starts {
        let started = Instant::now();
        let server = up.start().await?;
        let millis = started.elapsed().as_secs_f64() * 1000.0;
        report.judge(REST, "start-up, spawn to listening", "ms", Goal::AtMost(100.0), millis);
        server.kill().await?;
    }
    Ok(())
}

async fn calm_kib(server: &Server) -> Result<f64> {
    tokio::time::sleep(CALM).await;
    pss_kib(server.pid)
}

/// Creates sessions; returns one of them.
async fn create(server: &Server, count: usize) -> Result<String> {
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let ask = Arc::new((server.client.clone(), agent, environment));
    let mut creators = JoinSet::new();
    for _ in 0..CREATORS {
        let ask = ask.clone();
        creators.spawn(async move {
            let mut last = String::new();
            for _ in 0..count / CREATORS {
                last = ask.0.session(&ask.1, &ask.2).await?;
            }
            anyhow::Ok(last)
        });
    }
    let mut session = String::new();
    while let Some(created) = creators.join_next().await {
        session = created??;
    }
    Ok(session)
}
