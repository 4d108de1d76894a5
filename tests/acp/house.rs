//! Through the whole house: sessions on `acp:tester` through the real server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::client::Client;
use perennial_tests::server::Up;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that has our agent, with these variables.
fn house(dir: &Path, variables: &str) -> Result<Up> {
    let config = dir.join("perennial.toml");
    let agent = env!("CARGO_BIN_EXE_perennial-acp-agent");
    let agents = format!("[acp.tester]\ncommand = ['{agent}']\nenv = {{ {variables} }}\n");
    std::fs::write(
        &config,
        format!("{agents}[acp.nowhere]\ncommand = ['/nowhere/agent']\n"),
    )?;
    Ok(Up::on(&dir.join("data")).env("PERENNIAL_CONFIG", config.to_str().context("a path")?))
}

async fn session_on(client: &Client, harness: &str) -> Result<String> {
    let (agent, environment) = client.agent_on("rehearsal-1", harness).await?;
    client.session(&agent, &environment).await
}

async fn until(what: impl AsyncFn() -> Result<bool>, up: &Up) -> Result<()> {
    let reached = async {
        while !what().await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .with_context(|| up.log())?
}

/// What the agent said, a message a line.
fn words(log: &[Value]) -> String {
    let messages = log.iter().filter(|event| event["type"] == "agent.message");
    let texts = messages.filter_map(|event| event["payload"]["content"][0]["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_session_survives_its_server_in_a_call() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = house(dir.path(), "KEY = '{key}'")?;
    let server = up.start().await?;
    let session = session_on(&server.client, "acp:tester").await?;
    let script = "/say looking\n/tool bash {\"command\":\"echo once >> ledger; sleep 1\"}\n/then\n/say finished";
    server.client.say(&session, script).await?;
    let ledger = up.data_dir.join("workspaces").join(&session).join("ledger");
    until(async || Ok(ledger.exists()), &up).await?;
    server.kill().await?;

    let server = up.start().await?;
    let idle = server.client.until_idle(&session, 0, PATIENCE).await;
    idle.with_context(|| up.log())?;
    let log = server.client.log(&session).await?;
    let uses = log.iter().filter(|event| event["type"] == "agent.tool_use").count();
    assert_eq!(uses, 1, "the call was asked for again: {log:#?}");
    assert_eq!(std::fs::read_to_string(&ledger)?, "once\n");
    assert_eq!(words(&log), "looking\nfinished", "{log:#?}");
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn a_turn_is_one_process_and_the_next_turn_another() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = house(dir.path(), "KEY = '{key}'")?;
    let server = up.start().await?;
    let session = session_on(&server.client, "acp:tester").await?;
    let script = "/think hm\n/say $STARTED\n/tool bash {\"command\":\"true\"}\n/then\n/think so\n/say $STARTED\n\
                  /tool bash {\"command\":\"true\"}\n/then\n/say $STARTED";
    server.client.say(&session, script).await?;
    let (_, seen) = server.client.until_idle(&session, 0, PATIENCE).await?;
    server.client.say(&session, "/say $STARTED").await?;
    server.client.until_idle(&session, seen, PATIENCE).await?;
    let told = words(&server.client.log(&session).await?);
    // Results are said before what follows them.
    let lines = told.lines().map(|line| line.rsplit('>').next().unwrap_or(line));
    let starts: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let [first, second, third, other] = starts[..] else {
        anyhow::bail!("four were told: {told}");
    };
    ensure!(first == second && second == third && third != other, "{told}");
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_has_a_key_of_its_own_for_one_turn_and_none_of_a_provider() -> Result<()> {
    const SECRET: &str = "sk-of-the-house";
    let dir = tempfile::tempdir()?;
    let up = house(dir.path(), "KEY = '{key}', URL = '{base_url}', MODEL = '{model}'")?
        .env("ANTHROPIC_API_KEY", SECRET)
        .env("OPENAI_API_KEY", SECRET);
    let server = up.start().await?;
    let session = session_on(&server.client, "acp:tester").await?;
    let script = "/say $KEY $URL $MODEL $ENVIRONMENT\n\
                  /tool bash {\"command\":\"while [ ! -e go ]; do sleep 0.02; done\"}\n/then\n/say finished";
    server.client.say(&session, script).await?;
    until(async || Ok(!words(&server.client.log(&session).await?).is_empty()), &up).await?;

    let told = words(&server.client.log(&session).await?);
    ensure!(!told.contains(SECRET), "{told}");
    let [key, url, model, _] = told.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        anyhow::bail!("four were told: {told}");
    };
    ensure!(key.starts_with("vk_"), "{told}");
    let ask = async || -> Result<u16> {
        let body = json!({"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": "/say hi"}]});
        let request = reqwest::Client::new()
            .post(format!("{url}/chat/completions"))
            .bearer_auth(key);
        Ok(request.json(&body).send().await?.status().as_u16())
    };
    assert_eq!(ask().await?, 200, "while the agent lives");
    let folder = up.data_dir.join("workspaces").join(&session);
    until(async || Ok(folder.exists()), &up).await?;
    std::fs::write(folder.join("go"), "")?;
    server
        .client
        .until_idle(&session, 0, PATIENCE)
        .await
        .with_context(|| up.log())?;
    ensure!(words(&server.client.log(&session).await?).ends_with("finished"));
    assert_eq!(ask().await?, 401, "after its turn");
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_not_here_is_an_error_a_person_understands() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = house(dir.path(), "")?;
    let server = up.start().await?;
    for (harness, says) in [
        ("acp:nobody", "[acp.nobody]"),
        ("acp:nowhere", "(/nowhere/agent) could not be started: No such file"),
    ] {
        let session = session_on(&server.client, harness).await?;
        server.client.say(&session, "hi").await?;
        let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
        let errors: Vec<_> = events.iter().filter(|event| event["type"] == "session.error").collect();
        assert!(errors.len() == 1 && errors[0].to_string().contains(says), "{errors:?}");
    }
    server.kill().await?;
    Ok(())
}
