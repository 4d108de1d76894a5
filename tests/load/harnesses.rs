//! What a harness process costs a user: from the moment a message is sent to the moment its vendor has the whole request, in
//! a session that has no process yet and in one whose process waits; and the same for the bare program, without us.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use perennial_tests::harnesses::Pinned;
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::processes;
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::report::{Goal, Report, percentile};

const PATIENCE: Duration = Duration::from_secs(60);
/// Beyond the bare program's, at most.
const COLD_MILLIS: f64 = 50.0;

/// A harness and what is promised of it.
struct Program {
    scenario: &'static str,
    harness: Pinned,
    vendor: Vendor,
    model: &'static str,
    /// The setting that names its binary.
    setting: &'static str,
    /// Its process.
    process: &'static str,
    warm_millis: f64,
    /// It has a mode without tools, which no agent can use.
    least: bool,
}

/// How a program runs without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    AsInstalled,
    AtLeast,
}

const CLAUDE: Program = Program {
    scenario: "claude-code, message to model request",
    harness: Pinned::ClaudeCode,
    vendor: Vendor::Anthropic,
    model: "claude-bench",
    setting: "PERENNIAL_CLAUDE_BIN",
    process: "claude",
    warm_millis: 150.0,
    least: true,
};

const CODEX: Program = Program {
    scenario: "codex, message to model request",
    harness: Pinned::Codex,
    vendor: Vendor::OpenAi,
    model: "openai/gpt-6-sol",
    setting: "PERENNIAL_CODEX_BIN",
    process: "codex",
    warm_millis: 250.0,
    least: false,
};

/// Cold and warm turns of claude-code, and bare runs between them.
pub(crate) async fn claude(report: &mut Report, quick: bool) -> Result<()> {
    round(&CLAUDE, report, quick).await
}

/// The same of codex.
pub(crate) async fn codex(report: &mut Report, quick: bool) -> Result<()> {
    round(&CODEX, report, quick).await
}

async fn round(program: &Program, report: &mut Report, quick: bool) -> Result<()> {
    let Some(binary) = program.harness.installed()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let model = ModelServer::start(program.vendor).await?;
    let (base, key) = match program.vendor {
        Vendor::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
        Vendor::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    };
    let up = Up::on(&dir.path().join("data"))
        .env(base, model.base_url())
        .env(key, "sk-bench")
        .env(program.setting, binary.to_str().context("a path")?);
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_on(program.model, program.harness.name()).await?;
    let session = async || server.client.session(&agent, &environment).await;
    // The first of a worker also finds out which version it is.
    turn(&server, &model, &session().await?, 0).await?;

    let (mut bare, mut least, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if quick { 2 } else { 20 } {
        bare.push(bare_run(program, Alone::AsInstalled, &binary, &model).await?);
        if program.least {
            least.push(bare_run(program, Alone::AtLeast, &binary, &model).await?);
        }
        // One process may serve many sessions: what is cold is cold without any.
        end_all(server.pid, program.process);
        let session = session().await?;
        let (took, mut head) = turn(&server, &model, &session, 0).await?;
        cold.push(took);
        for _ in 0..2 {
            let (took, last) = turn(&server, &model, &session, head).await?;
            warm.push(took);
            head = last;
        }
    }
    let name = program.scenario;
    println!(
        "{name}: n = {} bare, {} cold, {} warm",
        bare.len(),
        cold.len(),
        warm.len()
    );
    let (bare_p50, cold_p50) = (percentile(&mut bare, 0.5), percentile(&mut cold, 0.5));
    report.add(name, "bare program", "p50 ms", bare_p50);
    if program.least {
        report.add(
            name,
            "bare program without tools",
            "p50 ms",
            percentile(&mut least, 0.5),
        );
    }
    report.add(name, "cold", "p50 ms", cold_p50);
    report.add(name, "cold", "p95 ms", percentile(&mut cold, 0.95));
    let beyond = Goal::AtMost(COLD_MILLIS);
    report.judge(name, "cold beyond bare", "p50 ms", beyond, cold_p50 - bare_p50);
    let (goal, warm_p50) = (Goal::AtMost(program.warm_millis), percentile(&mut warm, 0.5));
    report.judge(name, "warm", "p50 ms", goal, warm_p50);
    report.add(name, "warm", "p95 ms", percentile(&mut warm, 0.95));
    let resting = below(server.pid, program.process);
    let bytes: u64 = resting.iter().copied().map(resident).sum();
    let count = f64::from(u32::try_from(resting.len())?);
    report.add(name, "processes at rest", "", count);
    let each = f64::from(u32::try_from(bytes / 1024 / 1024)?) / count.max(1.0);
    report.add(name, "each at rest", "MiB RSS", each);
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

/// The program without us, in an empty home: its start to the request of its first turn.
async fn bare_run(program: &Program, alone: Alone, binary: &Path, model: &ModelServer) -> Result<f64> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(home.path())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let sent = Instant::now();
    match program.harness {
        Pinned::ClaudeCode => bare_claude(&mut command, alone, program.model, model).await?,
        Pinned::Codex => bare_codex(&mut command, home.path(), model).await?,
    }
    // What it asks when the first answer is not to its liking is not what is measured.
    let requests = model.requests();
    let first = requests.iter().map(|request| request.at).find(|at| *at >= sent);
    Ok(millis(first.context("the bare program made no model request")? - sent))
}

/// As somebody at a terminal runs it; or with nothing a session needs: no tools, no memory, no settings.
async fn bare_claude(command: &mut Command, alone: Alone, model_name: &str, model: &ModelServer) -> Result<()> {
    if alone == Alone::AtLeast {
        command.args(["--bare", "--tools", ""]);
    }
    let mut child = command
        .args(["-p", "--model", model_name, "hello"])
        .env("ANTHROPIC_BASE_URL", model.base_url())
        .env("ANTHROPIC_API_KEY", "sk-bench")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    tokio::time::timeout(PATIENCE, child.wait()).await??;
    Ok(())
}

/// As an editor runs it: the app-server, a thread, a turn. It asks nobody but the model.
async fn bare_codex(command: &mut Command, home: &Path, model: &ModelServer) -> Result<()> {
    let provider = format!(
        "model = \"gpt-5.5\"\nmodel_provider = \"gw\"\ncheck_for_update_on_startup = false\n[analytics]\nenabled = false\n\
         [model_providers.gw]\nname = \"gw\"\nbase_url = \"{}\"\n",
        model.base_url()
    );
    std::fs::write(home.join("config.toml"), provider)?;
    let mut child = command
        .arg("app-server")
        .env("CODEX_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    tokio::time::timeout(PATIENCE, codex_turn(&mut child, home)).await??;
    child.kill().await?;
    Ok(())
}

async fn codex_turn(child: &mut Child, home: &Path) -> Result<()> {
    let mut stdin = child.stdin.take().context("piped")?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let client = json!({"name": "bench", "title": "bench", "version": "0"});
    let hello = json!({"clientInfo": client, "capabilities": {"experimentalApi": true}});
    let mut thread = Value::Null;
    for (id, method) in [(1, "initialize"), (2, "thread/start"), (3, "turn/start")] {
        let params = match id {
            1 => hello.clone(),
            2 => json!({"cwd": home}),
            _ => json!({"threadId": thread, "input": [{"type": "text", "text": "hello"}]}),
        };
        let line = json!({"id": id, "method": method, "params": params});
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = loop {
            let line: Value = serde_json::from_str(&lines.next_line().await?.context("it ended")?)?;
            if line["id"] == id {
                break line;
            }
        };
        if id == 2 {
            thread = answer["result"]["thread"]["id"].clone();
        }
    }
    loop {
        let line: Value = serde_json::from_str(&lines.next_line().await?.context("it ended")?)?;
        if line["method"] == "turn/completed" {
            return Ok(());
        }
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// Ends them and waits until they are gone: whoever starts next is the first.
fn end_all(server: u32, name: &str) {
    let ended = below(server, name);
    for process in ended.iter().filter_map(|process| i32::try_from(*process).ok()) {
        // One that is gone already is what is wanted.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::SIGKILL);
    }
    let since = Instant::now();
    while ended.iter().any(|process| resident(*process) > 0) && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes of this name below another.
fn below(process: u32, name: &str) -> Vec<u32> {
    let mut found = processes::descendants(process);
    found.retain(|process| processes::name(*process) == name);
    found
}

/// The memory of a process, in bytes; 0 when it is gone.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
