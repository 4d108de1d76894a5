//! Through the whole house: a session on `acp:tester` through the real server, killed in the middle of a call.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::server::Up;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "/say looking\n/tool bash {\"command\":\"echo once >> ledger; sleep 1\"}\n/then\n/say finished";

#[tokio::test]
async fn a_session_survives_its_server_in_a_call() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("perennial.toml");
    let agent = env!("CARGO_BIN_EXE_perennial-acp-agent");
    std::fs::write(
        &config,
        format!("[acp.tester]\ncommand = ['{agent}']\nenv = {{ KEY = '{{key}}' }}\n"),
    )?;
    let up = Up::on(&dir.path().join("data")).env("PERENNIAL_CONFIG", config.to_str().context("a path")?);
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_on("rehearsal-1", "acp:tester").await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, SCRIPT).await?;
    let ledger = up.data_dir.join("workspaces").join(&session).join("ledger");
    let begun = async {
        while !ledger.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.with_context(|| up.log())?;
    server.kill().await?;

    let server = up.start().await?;
    let idle = server.client.until_idle(&session, 0, PATIENCE).await;
    idle.with_context(|| up.log())?;
    let log = server.client.log(&session).await?;
    let uses = log.iter().filter(|event| event["type"] == "agent.tool_use").count();
    assert_eq!(uses, 1, "the call was asked for again: {log:#?}");
    assert_eq!(std::fs::read_to_string(&ledger)?, "once\n");
    let says = |text: &str| {
        let told = |event: &&Value| event["type"] == "agent.message" && event.to_string().contains(text);
        log.iter().filter(told).count()
    };
    assert_eq!((says("looking"), says("finished")), (1, 1), "{log:#?}");
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_nobody_configured_is_an_error_a_person_understands() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"));
    let server = up.start().await?;
    let (agent, environment) = server.client.agent_on("rehearsal-1", "acp:nobody").await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, "hi").await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let error = events
        .iter()
        .find(|event| event["type"] == "session.error")
        .context("no error")?;
    assert!(error.to_string().contains("[acp.nobody]"), "{error}");
    server.kill().await?;
    Ok(())
}
