//! MCP servers that are programs, on somebody's machine: they run there and nowhere else, if its owner's terms say so.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::id;
use perennial_tests::not_run;
use perennial_tests::processes::runs_in;
use serde_json::{Value, json};

use crate::rig::{Device, PATIENCE, Stand, wait_until};

/// A session on a device, whose agent has a program for a server; none where there is no such program.
async fn session(stand: &Stand, device: &Device) -> Result<Option<String>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tests.join("../target/test-env/venv-mcp/bin/python");
    if !python.exists() {
        not_run("MCP: target/test-env/venv-mcp is missing (scripts/setup.sh --test makes it)")?;
        return Ok(None);
    }
    let client = stand.client();
    let agent = json!({"name": "user", "model": "rehearsal-1",
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "prog",
            "default_config": {"permission_policy": {"type": "always_allow"}}}],
        "mcp_servers": [{"type": "stdio", "name": "prog", "command": python,
            "args": ["-B", tests.join("mcp/program.py")], "env": {"MODE": "abroad"}}]});
    let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    let body = json!({"name": format!("on {}", uuid::Uuid::now_v7()),
        "config": {"type": "local", "executor_id": device.id}});
    let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    Ok(Some(client.session(&agent, &environment).await?))
}

fn said<'a>(events: &'a [Value], kind: &str) -> Result<&'a str> {
    let mut found = events.iter().filter(|event| event["type"] == kind);
    let found = found.next().with_context(|| format!("no {kind}: {events:#?}"))?;
    let text = found["content"][0]["text"]
        .as_str()
        .or_else(|| found["error"]["message"].as_str());
    text.context("text")
}

#[tokio::test]
async fn a_program_runs_on_the_machine_and_ends_with_it() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let Some(session) = session(&stand, &device).await? else {
        return Ok(());
    };
    let look = async || -> Result<Value> {
        let events = stand.turn(&session, "/tool prog__look {}").await?;
        Ok(serde_json::from_str(said(&events, "agent.mcp_tool_result")?)?)
    };
    let first = look().await?;
    ensure!(
        first["cwd"] == json!(device.work) && first["env"]["MODE"] == "abroad",
        "{first}"
    );
    ensure!(first["pid"] == look().await?["pid"], "one program serves the session");

    ensure!(runs_in(&device.work, "program.py"));
    // SIGKILL, in the middle of nothing: the program is gone with it, and is started again in the next life.
    device.process()?.kill().await?;
    wait_until(|| Ok(!runs_in(&device.work, "program.py"))).await?;
    device.start()?;
    stand.online(&device.id).await?;
    look().await?;

    // Who offers no commands offers no programs, whatever the server asks.
    device.process()?.stop(PATIENCE).await?;
    stand.until(&device.id, "offline").await?;
    device.program.args.push("--read-only".to_owned());
    device.start()?;
    stand.online(&device.id).await?;
    let before = device.ledger().len();
    let events = stand.turn(&session, "/tool prog__look {}").await?;
    let told = said(&events, "session.error")?;
    ensure!(told.contains("does not offer bash"), "{told}");
    ensure!(device.ledger().len() == before, "it was started");
    Ok(())
}
