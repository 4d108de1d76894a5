//! (i): what a sandbox costs a session: the first call, beside the same container started by hand, and the first model request of a
//! session that has none. It needs a Docker Engine, its own or the one of `DOCKER_HOST`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_tests::client::{Client, id};
use perennial_tests::docker::{Engine, IMAGE};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::Up;
use serde_json::json;

use crate::report::{Goal, Report, percentile};

const SANDBOXES: &str = "sandboxes";
const PATIENCE: Duration = Duration::from_secs(60);

/// First calls, each in a fresh sandbox, and `docker run` of a container that is bounded alike, in turns.
pub(crate) async fn round(report: &mut Report, quick: bool) -> Result<()> {
    let Some(engine) = Engine::shared().await? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let up = Up::on(&dir.path().join("data"))
        .arg("--docker")
        .arg(&engine.host)
        .arg("--sandbox-image")
        .arg(IMAGE)
        .env("PERENNIAL_SANDBOX_EXECUTOR", &engine.executor.display().to_string())
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench");
    let server = up.start().await?;
    let client = &server.client;
    let body = json!({"name": "cloud", "config": {"type": "cloud", "memory": "128m"}});
    let cloud = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    let (agent, _) = client.agent_and_environment("rehearsal-1").await?;
    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..if quick { 2 } else { 10 } {
        bare.push(by_hand(engine)?);
        cold.push(first_call(client, &agent, &cloud).await?);
    }
    let (cold, bare) = (percentile(&mut cold, 0.5), percentile(&mut bare, 0.5));
    report.add(SANDBOXES, "first call, with its sandbox", "p50 ms", cold);
    report.add(SANDBOXES, "the same container by docker run", "p50 ms", bare);
    report.judge(
        SANDBOXES,
        "first call beyond docker run",
        "ms",
        Goal::AtMost(300.0),
        cold - bare,
    );

    let (asking, local) = client.agent_and_environment("claude-bench").await?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..if quick { 5 } else { 50 } {
        // In turns: a session without a sandbox in an environment of sandboxes, and one of a folder.
        for (environment, times) in [&cloud, &local].into_iter().zip(&mut times) {
            let session = client.session(&asking, environment).await?;
            let sent = Instant::now();
            client.say(&session, "hello").await?;
            client.until_idle(&session, 0, PATIENCE).await?;
            let arrived = model.last_arrival().context("no model request")?;
            times.push(arrived.saturating_duration_since(sent).as_secs_f64() * 1000.0);
        }
    }
    let [mut cloud, mut local] = times;
    report.add(
        SANDBOXES,
        "POST to model request, no sandbox yet",
        "p50 ms",
        percentile(&mut cloud, 0.5),
    );
    report.add(
        SANDBOXES,
        "POST to model request, a folder",
        "p50 ms",
        percentile(&mut local, 0.5),
    );
    report.ratio(
        SANDBOXES,
        "POST to model request, no sandbox yet",
        "POST to model request, a folder",
        "p50 ms",
        Some(Goal::AtMost(1.2)),
    );
    server.kill().await
}

/// Milliseconds from the message to the end of a turn whose one call makes its sandbox.
async fn first_call(client: &Client, agent: &str, environment: &str) -> Result<f64> {
    let session = client.session(agent, environment).await?;
    let sent = Instant::now();
    client.say(&session, "/tool bash {\"command\":\"true\"}").await?;
    client.until_idle(&session, 0, PATIENCE).await?;
    let took = sent.elapsed().as_secs_f64() * 1000.0;
    client
        .send(client.request("DELETE", &format!("/v1/sessions/{session}")))
        .await?
        .ok()?;
    Ok(took)
}

fn by_hand(engine: &Engine) -> Result<f64> {
    let hardened = [
        "run",
        "--rm",
        "--init",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--read-only",
        "--user",
        "65532:65532",
        "--pids-limit",
        "256",
        "--memory",
        "128m",
        "--memory-swap",
        "128m",
        "--tmpfs",
        "/tmp",
        "-v",
        "/sandbox",
        IMAGE,
        "/bin/busybox",
        "true",
    ];
    let began = Instant::now();
    engine.docker(&hardened)?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
