//! What a harness process costs a user: from the moment a message is sent to the moment its vendor has the whole request, in
//! a session that has no process yet and in one whose process waits; and the same for the bare program, without us.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::{Server, Up};
use tokio::process::Command;

use crate::report::{Goal, Report, percentile};

const CLAUDE: &str = "claude-code, message to model request";
const MODEL: &str = "claude-bench";
const PATIENCE: Duration = Duration::from_secs(60);
/// Beyond the bare program's, at most.
const COLD_MILLIS: f64 = 50.0;
const WARM_MILLIS: f64 = 150.0;

/// Cold and warm turns of claude-code, and bare runs between them.
pub(crate) async fn claude(report: &mut Report, quick: bool) -> Result<()> {
    let Some(binary) = claude_binary() else {
        return perennial_tests::not_run("claude-code: run scripts/setup.sh --test first");
    };
    let dir = tempfile::tempdir()?;
    let model = ModelServer::start(Vendor::Anthropic).await?;
    let up = Up::on(&dir.path().join("data"))
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench")
        .env("PERENNIAL_CLAUDE_BIN", binary.to_str().context("a path")?);
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_on(MODEL, "claude-code").await?;
    let session = async || server.client.session(&agent, &environment).await;
    // The first of a worker also finds out which version it is.
    turn(&server, &model, &session().await?, 0).await?;

    let (mut bare, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if quick { 2 } else { 20 } {
        bare.push(bare_run(&binary, &model).await?);
        let session = session().await?;
        let (took, mut head) = turn(&server, &model, &session, 0).await?;
        cold.push(took);
        for _ in 0..2 {
            let (took, last) = turn(&server, &model, &session, head).await?;
            warm.push(took);
            head = last;
        }
    }
    let n = (bare.len(), cold.len(), warm.len());
    println!("{CLAUDE}: n = {} bare, {} cold, {} warm", n.0, n.1, n.2);
    let bare_p50 = percentile(&mut bare, 0.5);
    let cold_p50 = percentile(&mut cold, 0.5);
    report.add(CLAUDE, "bare program", "p50 ms", bare_p50);
    report.judge(CLAUDE, "cold", "p50 ms", Goal::AtMost(bare_p50 + COLD_MILLIS), cold_p50);
    report.add(CLAUDE, "cold", "p95 ms", percentile(&mut cold, 0.95));
    report.judge(
        CLAUDE,
        "cold beyond bare",
        "p50 ms",
        Goal::AtMost(COLD_MILLIS),
        cold_p50 - bare_p50,
    );
    let warm_p50 = percentile(&mut warm, 0.5);
    report.judge(CLAUDE, "warm", "p50 ms", Goal::AtMost(WARM_MILLIS), warm_p50);
    report.add(CLAUDE, "warm", "p95 ms", percentile(&mut warm, 0.95));
    let (count, bytes) = harnesses(server.pid, "claude");
    let each = f64::from(u32::try_from(bytes / 1024 / 1024)?) / f64::from(u32::try_from(count.max(1))?);
    report.add(CLAUDE, "processes at rest", "", f64::from(u32::try_from(count)?));
    report.add(CLAUDE, "each at rest", "MiB RSS", each);
    server.kill().await
}

/// One turn: milliseconds until the model had the request, and the last event's number.
async fn turn(server: &Server, model: &ModelServer, session: &str, head: u64) -> Result<(f64, u64)> {
    let sent = Instant::now();
    server.client.say(session, "hello").await?;
    let (_, head) = server.client.until_idle(session, head, PATIENCE).await?;
    let arrived = model.last_arrival().context("no model request")?;
    if arrived < sent {
        bail!("the turn made no model request");
    }
    Ok((millis(arrived - sent), head))
}

/// The program as somebody at a terminal runs it, in an empty home.
async fn bare_run(binary: &Path, model: &ModelServer) -> Result<f64> {
    let home = tempfile::tempdir()?;
    let sent = Instant::now();
    let mut child = Command::new(binary)
        .args(["-p", "--bare", "--tools", "", "--model", MODEL, "hello"])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    tokio::time::timeout(PATIENCE, child.wait()).await??;
    let arrived = model.last_arrival().context("no model request")?;
    if arrived < sent {
        bail!("the bare program made no model request");
    }
    Ok(millis(arrived - sent))
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn claude_binary() -> Option<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let path = format!("harnesses/claude/node_modules/@anthropic-ai/claude-code-linux-{arch}/claude");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.exists().then_some(path)
}

/// How many processes of this name there are below another, and their memory.
fn harnesses(process: u32, name: &str) -> (usize, u64) {
    let mut tree = vec![process];
    let (mut next, mut count, mut bytes) = (0, 0, 0);
    while let Some(parent) = tree.get(next).copied() {
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            tree.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        let status = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
        };
        if field("Name:") == name {
            count += 1;
            let kib: u64 = field("VmRSS:").trim_end_matches(" kB").parse().unwrap_or(0);
            bytes += kib * 1024;
        }
        next += 1;
    }
    (count, bytes)
}
