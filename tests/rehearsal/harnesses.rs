//! The vendors' own harnesses as they are installed, with their own tools, pointed at the rehearsal.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::child::bind_to_us;
use perennial_tests::harnesses::Pinned;
use serde_json::Value;
use tokio::process::Command;

use crate::served::{Served, recorded};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it to its end; gives what it printed.
async fn run(mut command: Command, folder: &Path) -> Result<String> {
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin");
    command.stdin(std::process::Stdio::null());
    bind_to_us(&mut command);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .context("it did not end")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

fn clean(requests: &[Value]) {
    for request in requests {
        assert_eq!(request["violation"], Value::Null);
        assert_eq!(request["status"], 200);
    }
}

#[tokio::test]
async fn claude_code_plays_a_script_with_its_own_tools() -> Result<()> {
    let Some(binary) = Pinned::ClaudeCode.installed()? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record");
    let served = Served::start(&["--record", record.to_str().context("a path")?]).await?;
    let mut command = Command::new(binary);
    // Prose first: the harness takes a prompt that begins with a slash for a command of its own.
    let prompt = "please:\n/say working\n/tool Bash {\"command\": \"echo once >> ledger\", \"description\": \"d\"}\n\
                  /tool Bash {\"command\": \"cat ledger\", \"description\": \"d\"}\n/then\n/say finished";
    // The list of tools takes all that follows it.
    command.args([
        "-p",
        "--model",
        "claude-opus-4-5",
        "--allowedTools",
        "Bash",
        "--",
        prompt,
    ]);
    command
        .env_clear()
        .env("CLAUDE_CONFIG_DIR", folder.path())
        .env("ANTHROPIC_BASE_URL", &served.origin)
        .env("ANTHROPIC_API_KEY", "rehearsal")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1");
    let said = run(command, folder.path()).await?;
    assert_eq!(said.trim(), "finished");
    assert_eq!(std::fs::read_to_string(folder.path().join("ledger"))?, "once\n");
    let requests = recorded(&record)?;
    assert_eq!(requests.len(), 2);
    clean(&requests);
    Ok(())
}

#[tokio::test]
async fn codex_plays_a_script_with_its_own_tools() -> Result<()> {
    let Some(binary) = Pinned::Codex.installed()? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record");
    let served = Served::start(&["--record", record.to_str().context("a path")?]).await?;
    let provider = format!(
        "model_providers.rehearsal={{name=\"rehearsal\", base_url=\"{}/v1\", wire_api=\"responses\", env_key=\"OPENAI_API_KEY\"}}",
        served.origin
    );
    let mut command = Command::new(binary);
    let prompt = "please:\n/think first\n/say working\n/tool exec_command {\"cmd\": \"echo once >> ledger\"}\n/then\n/say finished";
    command.args([
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
    ]);
    command.args([
        "-c",
        &provider,
        "-c",
        "model_provider=\"rehearsal\"",
        "-m",
        "rehearsal-model",
        prompt,
    ]);
    command
        .env_clear()
        .env("CODEX_HOME", folder.path())
        .env("OPENAI_API_KEY", "rehearsal");
    let said = run(command, folder.path()).await?;
    assert!(said.contains("finished"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("ledger"))?, "once\n");
    let requests = recorded(&record)?;
    assert_eq!(requests.len(), 2);
    clean(&requests);
    let reasoning = requests[1]["body"]["input"].to_string();
    assert!(
        reasoning.contains("encrypted_content"),
        "the thought came back: {reasoning}"
    );
    Ok(())
}
