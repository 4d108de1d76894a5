//! MCP servers that are programs, on somebody's machine: they run there and nowhere else, if its owner's terms say so.

use anyhow::{Context, Result, ensure};
use perennial_tests::MCP_SERVER;
use perennial_tests::client::id;
use perennial_tests::processes::runs_in;
use serde_json::{Value, json};

use crate::rig::{Device, PATIENCE, Stand, wait_until};

/// In the program's command line.
const MARK: &str = "serverInfo";

/// A session on a device, whose agent has a program for a server.
async fn session(stand: &Stand, device: &Device) -> Result<String> {
    let client = stand.client();
    let agent = json!({"name": "user", "model": "rehearsal-1",
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "prog",
            "default_config": {"permission_policy": {"type": "always_allow"}}}],
        "mcp_servers": [{"type": "stdio", "name": "prog", "command": "bash", "args": ["-c", MCP_SERVER],
            "env": {"MODE": "abroad"}}]});
    let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    let body = json!({"name": format!("on {}", uuid::Uuid::now_v7()),
        "config": {"type": "local", "executor_id": device.id}});
    let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    client.session(&agent, &environment).await
}

fn said<'a>(events: &'a [Value], kind: &str) -> Result<&'a str> {
    let mut found = events.iter().filter(|event| event["type"] == kind);
    let found = found.next().with_context(|| format!("no {kind}: {events:#?}"))?;
    let text = &found["content"][0]["text"];
    let text = text.as_str().or_else(|| found["error"]["message"].as_str());
    text.context("text")
}

/// What it says of itself.
async fn look(stand: &Stand, session: &str) -> Result<String> {
    let events = stand.turn(session, "/tool prog__where {}").await?;
    Ok(said(&events, "agent.mcp_tool_result")?.to_owned())
}

#[tokio::test]
async fn a_program_runs_on_the_machine_and_ends_with_it() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let session = session(&stand, &device).await?;
    let first = look(&stand, &session).await?;
    let work = device.work.canonicalize()?;
    ensure!(
        first.starts_with("abroad ") && first.ends_with(&work.display().to_string()),
        "{first}"
    );
    ensure!(first == look(&stand, &session).await?, "one program serves the session");
    ensure!(runs_in(&device.work, MARK));

    // SIGKILL, in the middle of nothing: the program is gone with it, and is started again in the next life.
    device.process()?.kill().await?;
    wait_until(|| Ok(!runs_in(&device.work, MARK))).await?;
    device.start()?;
    stand.online(&device.id).await?;
    ensure!(first != look(&stand, &session).await?);

    // Who offers no commands offers no programs, whatever the server asks.
    device.process()?.stop(PATIENCE).await?;
    stand.until(&device.id, "offline").await?;
    device.program.args.push("--read-only".to_owned());
    device.start()?;
    stand.online(&device.id).await?;
    let events = stand.turn(&session, "/tool prog__where {}").await?;
    let told = said(&events, "session.error")?;
    ensure!(told.contains("does not offer bash"), "{told}");
    ensure!(!runs_in(&device.work, MARK), "it was started");
    Ok(())
}
