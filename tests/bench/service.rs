//! What a user waits for, measured through the release binary: start-up, memory at rest, POST → first model request, and
//! durable steps a second on one session. Absolute numbers belong to the machine they were taken on; medians and ranges are
//! printed with their *n*.
//!
//! Run by `make bench`, which builds the release binary first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::{Server, Up};

const STARTS: usize = 20;
const REQUESTS: usize = 200;
const STEPS: usize = 20;
const ROUNDS: usize = 10;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    start_up(&data).await?;
    first_model_request(&dir.path().join("model")).await?;
    steps(&dir.path().join("steps")).await
}

/// From spawn to the line that says it listens, on an existing data directory; then memory after a second at rest.
async fn start_up(data: &std::path::Path) -> Result<()> {
    let up = Up::on(data);
    up.start().await?.kill().await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let server = up.start().await?;
        times.push(started.elapsed());
        server.kill().await?;
    }
    print("start-up (spawn to listening)", &mut times);
    let server = up.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{:<48} {:.1} MiB (PSS, n = 1)", "server at rest", pss_mib(&server)?);
    server.kill().await
}

/// From the moment the POST is sent to the moment the provider has the whole request; same session, so warm.
async fn first_model_request(data: &std::path::Path) -> Result<()> {
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let up = Up::on(data)
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench");
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_and_environment("claude-bench").await?;
    let session = server.client.session(&agent, &environment).await?;
    let mut head = 0;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let sent = Instant::now();
        server.client.say(&session, "hello").await?;
        (_, head) = server
            .client
            .until_idle(&session, head, Duration::from_secs(10))
            .await?;
        let arrived = model.last_arrival().context("no model request")?;
        times.push(arrived.saturating_duration_since(sent));
    }
    print("POST -> model request received (native, warm)", &mut times);
    server.kill().await
}

/// Turns of the rehearsal with one no-op `read` call a step: two commits a step, every one of them synced.
async fn steps(data: &std::path::Path) -> Result<()> {
    let server = Up::on(data).start().await?;
    let (agent, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    let step = "/tool glob {\"pattern\":\"*\"}\n/then\n";
    let script = format!("{}/say done", step.repeat(STEPS));
    let mut head = 0;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        server.client.say(&session, &script).await?;
        (_, head) = server
            .client
            .until_idle(&session, head, Duration::from_secs(60))
            .await?;
        times.push(started.elapsed() / u32::try_from(STEPS)?);
    }
    print("one durable step with a tool call (1 session)", &mut times);
    server.kill().await
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let (least, median, p99, most) = (at(0.0), at(0.5), at(0.99), at(1.0));
    println!(
        "{what:<48} p50 {median:.2} ms, p99 {p99:.2} ms ({least:.2}..{most:.2}, n = {})",
        times.len()
    );
}

fn pss_mib(server: &Server) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
