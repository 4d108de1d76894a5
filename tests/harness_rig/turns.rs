//! Turns that do not simply end: interrupted, steered, parked over a restart, with a picture; and the next turn after each.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::id;
use perennial_tests::models::Answer;
use perennial_tests::server::Server;
use serde_json::{Value, json};

use crate::house::{House, PATIENCE};
use crate::kind::Kind;
use crate::strike::harnesses;

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A house with a session in it; none where the harness is not installed.
async fn house<'a>(kind: &'a Kind, policy: &str) -> Result<Option<(House<'a>, Server, String)>> {
    let Some(binary) = kind.harness.installed()? else {
        return Ok(None);
    };
    let house = House::new(kind, &binary).await?;
    let server = house.up.start().await?;
    let agent = json!({"name": "tester", "model": kind.model, "harness": kind.harness.name(), "tools": [{"type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": policy}}}]});
    let agent = id(&server.client.post("/v1/agents", &agent).await?.ok()?)?;
    let (_, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    Ok(Some((house, server, session)))
}

async fn post(server: &Server, session: &str, event: Value) -> Result<()> {
    let path = format!("/v1/sessions/{session}/events");
    server.client.post(&path, &json!({"events": [event]})).await?.ok()?;
    Ok(())
}

async fn wait_for(server: &Server, session: &str, kind: &str) -> Result<()> {
    let waiting = async {
        let mut stream = server
            .client
            .stream(
                session,
                "?after=0&include=extensions&event_deltas[]=agent.message",
                None,
            )
            .await?;
        while let Some(frame) = stream.next().await? {
            if frame.event == kind {
                return Ok(());
            }
        }
        anyhow::bail!("the stream ended before {kind}")
    };
    tokio::time::timeout(PATIENCE, waiting).await.context(kind.to_owned())?
}

/// Waits for something outside the server, of which there is no event.
async fn eventually(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let until = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until)
        .await
        .with_context(|| format!("{what} never came"))
}

/// One more turn, then the verdict.
async fn and_then(house: &House<'_>, server: &Server, session: &str, last: u64) -> Result<Vec<Value>> {
    server.client.say(session, "/say and on").await?;
    server.client.until_idle(session, last, PATIENCE).await?;
    let log = server.client.log(session).await?;
    ensure!(
        harnesses(server, house.kind.program) <= 1,
        "one process per session at most"
    );
    assert_eq!(house.model.violations(), Vec::<String>::new());
    assert_eq!(house.upstream(&log), Vec::<String>::new());
    Ok(log)
}

pub(crate) async fn interrupt_in_text(kind: &Kind) -> Result<()> {
    let Some((house, server, session)) = house(kind, "always_allow").await? else {
        return Ok(());
    };
    // Not in the prompt: whoever is asked it again later answers at once.
    let slow = Answer::new().text(&["word "; 400]).every(Duration::from_millis(50));
    house.model.push(slow);
    server.client.say(&session, "say it often").await?;
    wait_for(&server, &session, "event_delta").await?;
    post(&server, &session, json!({"type": "user.interrupt"})).await?;
    let (_, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    house.model.abandoned(1).await?;
    and_then(&house, &server, &session, last).await?;
    server.kill().await
}

pub(crate) async fn interrupt_in_a_call(kind: &Kind) -> Result<()> {
    let Some((house, server, session)) = house(kind, "always_allow").await? else {
        return Ok(());
    };
    server
        .client
        .say(&session, "/tool bash {\"command\":\"sleep 60\"}\n/then\n/say too late")
        .await?;
    wait_for(&server, &session, "tool.dispatched").await?;
    post(&server, &session, json!({"type": "user.interrupt"})).await?;
    let (_, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let log = and_then(&house, &server, &session, last).await?;
    let said = |event: &&Value| event["type"] == "agent.message" && event.to_string().contains("too late");
    assert_eq!(log.iter().filter(said).count(), 0);
    server.kill().await
}

pub(crate) async fn steering(kind: &Kind) -> Result<()> {
    let Some((house, server, session)) = house(kind, "always_allow").await? else {
        return Ok(());
    };
    server
        .client
        .say(&session, "/tool bash {\"command\":\"sleep 1\"}\n/then\n/say slept")
        .await?;
    wait_for(&server, &session, "tool.dispatched").await?;
    server.client.say(&session, "/say heard").await?;
    let (_, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    and_then(&house, &server, &session, last).await?;
    server.kill().await
}

pub(crate) async fn approval_over_a_restart(kind: &Kind) -> Result<()> {
    let Some((house, server, session)) = house(kind, "always_ask").await? else {
        return Ok(());
    };
    let script = "/tool bash {\"command\":\"echo one >> ledger\"}\n/tool bash {\"command\":\"echo two >> ledger\"}\n/then\n/say done";
    server.client.say(&session, script).await?;
    let (events, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let stop = &events.last().context("nothing")?["stop_reason"];
    assert_eq!(stop["type"], "requires_action");
    let asked: Vec<String> = serde_json::from_value(stop["event_ids"].clone())?;
    // Whoever waits for a person costs nothing: what belongs to the session alone is gone.
    eventually("an end of the conversation", || house.transcripts() == 0).await?;
    if !kind.is_shared {
        eventually("an end of the process", || harnesses(&server, kind.program) == 0).await?;
    }
    server.kill().await?;
    let server = house.up.start().await?;
    for (id, result) in asked.iter().zip(["allow", "deny"]) {
        let answer = json!({"type": "user.tool_confirmation", "tool_use_id": id, "result": result});
        post(&server, &session, answer).await?;
    }
    let (_, last) = server.client.until_idle(&session, last, PATIENCE).await?;
    and_then(&house, &server, &session, last).await?;
    assert_eq!(house.lines("workspaces", &session, "ledger"), ["one"]);
    server.kill().await
}

/// A second turn in the process of the first, with a picture.
pub(crate) async fn a_picture_in_the_next_turn(kind: &Kind) -> Result<()> {
    let Some((house, server, session)) = house(kind, "always_allow").await? else {
        return Ok(());
    };
    server.client.say(&session, "/say one").await?;
    let (_, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}});
    let content = json!([image, {"type": "text", "text": "/say seen"}]);
    post(&server, &session, json!({"type": "user.message", "content": content})).await?;
    server.client.until_idle(&session, last, PATIENCE).await?;
    assert_eq!(house.model.violations(), Vec::<String>::new());
    let requests = house.model.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].raw.contains(PIXEL));
    server.kill().await
}
