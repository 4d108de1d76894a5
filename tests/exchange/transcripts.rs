//! What the real programs leave behind becomes sessions that go on.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use perennial_tests::harnesses::Pinned;
use perennial_tests::server::Server;
use serde_json::json;
use tokio::process::Command;

use crate::house::{House, PATIENCE};

/// The first file below a folder whose name fits.
fn find(dir: &Path, fits: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        if path.is_dir() {
            find(&path, fits)
        } else {
            fits(&name).then_some(path)
        }
    })
}

/// Imports a transcript and says one thing more; every request carries what was said before.
async fn goes_on(house: &House, server: &Server, file: &Path, format: &str, traces: &[&str]) -> Result<()> {
    let (agent, environment) = server.client.agent_on("claude-test-1", "native").await?;
    for (n, (model, vendor)) in [
        ("claude-test-1", &house.anthropic),
        ("openai/gpt-test", &house.openai),
        ("chat/scripted", &house.openai),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v1/sessions/import?agent_id={agent}&environment_id={environment}&model={model}");
        let request = server.client.request("POST", &path).body(std::fs::read(file)?);
        let made = server.client.send(request).await?.ok()?;
        ensure!(made["imported"]["format"] == format, "{made}");
        ensure!(
            made["imported"]["unread"].is_null(),
            "all of a real file is understood: {made}"
        );
        let session = made["id"].as_str().context("no id")?;
        let head = server.client.log(session).await?.len() as u64;
        let before = vendor.requests().len();
        let (events, _) = house.turn(server, session, head, &format!("/say onwards-{n}")).await?;
        ensure!(
            json!(events).to_string().contains(&format!("onwards-{n}")),
            "{events:#?}"
        );
        let requests = vendor.requests();
        let request = &requests.get(before).context("no request")?.raw;
        for trace in traces {
            ensure!(request.contains(trace), "{model}: {trace} is missing in {request}");
        }
    }
    house.check()
}

#[tokio::test]
async fn a_real_transcript_of_claude_code() -> Result<()> {
    let Some(binary) = Pinned::ClaudeCode.installed()? else {
        return Ok(());
    };
    let house = House::new().await?;
    let server = house.up.start().await?;
    let home = tempfile::tempdir()?;
    let work = home.path().join("work");
    std::fs::create_dir(&work)?;
    std::fs::write(work.join("note.txt"), "written-in-a-file\n")?;
    // Prose first: the harness takes a prompt that begins with a slash for a command of its own.
    let prompt = format!(
        "please:\n/say looking\n/tool Read {}\n/then\n/say read-it",
        json!({"file_path": work.join("note.txt")})
    );
    let mut command = Command::new(binary);
    command
        .args([
            "-p",
            "--model",
            "claude-test-1",
            "--tools",
            "Read",
            "--allowedTools",
            "Read",
            "--",
            &prompt,
        ])
        .current_dir(&work)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("CLAUDE_CONFIG_DIR", home.path())
        .env("ANTHROPIC_BASE_URL", house.anthropic.base_url())
        .env("ANTHROPIC_API_KEY", "sk-of-the-user")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        said.contains("read-it"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = find(&home.path().join("projects"), &|name| name.ends_with(".jsonl")).context("no transcript")?;
    goes_on(
        &house,
        &server,
        &file,
        "claude-code",
        &["looking", "written-in-a-file", "read-it"],
    )
    .await?;
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn a_real_rollout_of_codex() -> Result<()> {
    let Some(binary) = Pinned::Codex.installed()? else {
        return Ok(());
    };
    let house = House::new().await?;
    let server = house.up.start().await?;
    let home = tempfile::tempdir()?;
    let work = home.path().join("work");
    std::fs::create_dir(&work)?;
    let config = format!(
        "model = \"gpt-test\"\nmodel_provider = \"test\"\napproval_policy = \"never\"\nsandbox_mode = \"danger-full-access\"\n\
         check_for_update_on_startup = false\nweb_search = \"disabled\"\n[analytics]\nenabled = false\n[model_providers.test]\nname = \"test\"\n\
         base_url = \"{}\"\nwire_api = \"responses\"\nenv_key = \"TEST_KEY\"\n",
        house.openai.base_url()
    );
    std::fs::write(home.path().join("config.toml"), config)?;
    let mut command = Command::new(binary);
    command
        .args(["exec", "--skip-git-repo-check", "/say said-in-codex"])
        .current_dir(&work)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("CODEX_HOME", home.path())
        .env("TEST_KEY", "sk-of-the-user")
        .stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        said.contains("said-in-codex"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rollout = |name: &str| name.starts_with("rollout-") && name.ends_with(".jsonl");
    let file = find(&home.path().join("sessions"), &rollout).context("no rollout")?;
    goes_on(&house, &server, &file, "codex", &["/say said-in-codex"]).await?;
    server.kill().await?;
    Ok(())
}
