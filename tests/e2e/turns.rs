//! Turns through the whole house, with the rehearsal model.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::client::Client;
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

async fn server() -> Result<(tempfile::TempDir, Server)> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    Ok((dir, server))
}

async fn session(client: &Client) -> Result<String> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    client.session(&agent, &environment).await
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

#[tokio::test]
async fn a_turn_with_tools() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    server
        .client
        .say(
            &session,
            "/tool bash {\"command\":\"echo hello > f; cat f\"}\n/then\n/say finished",
        )
        .await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    assert_eq!(
        kinds(&events),
        [
            "user.message",
            "session.status_running",
            "span.model_request_start",
            "input.processed",
            "agent.tool_use",
            "span.model_request_end",
            "tool.dispatched",
            "agent.tool_result",
            "span.model_request_start",
            "agent.message",
            "span.model_request_end",
            "session.status_idle",
        ]
    );
    let result = events
        .iter()
        .find(|event| event["type"] == "agent.tool_result")
        .context("no result")?;
    assert!(
        result["content"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("hello")),
        "{result}"
    );
    server.kill().await
}

/// Everything works, only slower, when the bus loses every message.
#[tokio::test]
async fn a_turn_without_a_bus() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data"))
        .arg("--bus")
        .arg("silent")
        .start()
        .await?;
    let session = session(&server.client).await?;
    server
        .client
        .say(
            &session,
            "/tool bash {\"command\":\"echo hello\"}\n/then\n/say finished",
        )
        .await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    assert_eq!(
        events.last().map(|event| &event["type"]),
        Some(&json!("session.status_idle"))
    );
    // An interrupt reaches the turn by a renewal tick.
    let last = events.len() as u64;
    let mut stream = server.client.stream(&session, &format!("?after={last}"), None).await?;
    server.client.say(&session, "/sleep 60000\n/say too late").await?;
    while stream
        .next()
        .await?
        .is_some_and(|frame| frame.event != "span.model_request_start")
    {}
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    server
        .client
        .post(&format!("/v1/sessions/{session}/events"), &interrupt)
        .await?
        .ok()?;
    let (events, _) = server.client.until_idle(&session, last, PATIENCE).await?;
    assert!(!kinds(&events).contains(&"agent.message"), "{events:?}");
    server.kill().await
}

#[tokio::test]
async fn an_interrupt_stops_a_running_tool() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    let mut stream = server.client.stream(&session, "?after=0", None).await?;
    server
        .client
        .say(
            &session,
            "/tool bash {\"command\":\"sleep 60; echo late > late\"}\n/then\n/say done",
        )
        .await?;
    while let Some(frame) = stream.next().await? {
        if frame.event == "agent.tool_use" {
            break;
        }
    }
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    server
        .client
        .post(&format!("/v1/sessions/{session}/events"), &interrupt)
        .await?
        .ok()?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let result = events
        .iter()
        .find(|event| event["type"] == "agent.tool_result")
        .context("no result")?;
    assert_eq!(result["is_error"], true);
    assert_eq!(
        events.last().map(|event| event["stop_reason"]["type"].clone()),
        Some(json!("end_turn"))
    );
    // The next message goes on as usual.
    let last = events.len() as u64;
    server.client.say(&session, "/say again").await?;
    let (events, _) = server.client.until_idle(&session, last, PATIENCE).await?;
    assert!(kinds(&events).contains(&"agent.message"));
    server.kill().await
}

#[tokio::test]
async fn a_message_during_a_turn_enters_after_the_results() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    let mut stream = server.client.stream(&session, "?after=0", None).await?;
    server
        .client
        .say(&session, "/tool bash {\"command\":\"sleep 0.5\"}\n/then\n/say first")
        .await?;
    while let Some(frame) = stream.next().await? {
        if frame.event == "agent.tool_use" {
            break;
        }
    }
    let steering = server.client.say(&session, "/say steered").await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let place = |find: &dyn Fn(&Value) -> bool| events.iter().position(find).context("missing");
    let result = place(&|event| event["type"] == "agent.tool_result")?;
    let named = place(&|event| {
        event["type"] == "input.processed"
            && event["event_ids"]
                .as_array()
                .is_some_and(|ids| ids.contains(&json!(steering)))
    })?;
    assert!(result < named, "{:?}", kinds(&events));
    assert!(
        events
            .iter()
            .any(|event| event["type"] == "agent.message" && event.to_string().contains("steered"))
    );
    server.kill().await
}

#[tokio::test]
async fn provider_errors_are_retried_and_then_reported() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    server.client.say(&session, "/fail 529 2\n/say recovered").await?;
    let (events, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let retrying = |event: &&Value| event["error"]["retry_status"]["type"] == "retrying";
    assert_eq!(events.iter().filter(retrying).count(), 2, "{:?}", kinds(&events));
    assert!(kinds(&events).contains(&"agent.message"));
    server.client.say(&session, "/fail 400 99\n/say never").await?;
    let (events, _) = server.client.until_idle(&session, last, PATIENCE).await?;
    assert_eq!(
        events.last().map(|event| event["stop_reason"]["type"].clone()),
        Some(json!("retries_exhausted"))
    );
    server.kill().await
}

#[tokio::test]
async fn a_provider_model_without_a_key_says_which_setting_is_missing() -> Result<()> {
    let (_dir, server) = server().await?;
    let (agent, environment) = server.client.agent_and_environment("claude-sonnet-4-6").await?;
    let session = server.client.session(&agent, &environment).await?;
    server.client.say(&session, "hello").await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let error = events
        .iter()
        .find(|event| event["type"] == "session.error")
        .context("no error")?;
    assert!(
        error["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("ANTHROPIC_API_KEY")),
        "{error}"
    );
    server.kill().await
}

#[tokio::test]
async fn a_fork_has_the_history_and_goes_its_own_way() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    server
        .client
        .say(&session, "/tool bash {\"command\":\"echo one > f\"}\n/then\n/say one")
        .await?;
    let (_, head) = server.client.until_idle(&session, 0, PATIENCE).await?;
    server
        .client
        .say(&session, "/tool bash {\"command\":\"sleep 60\"}")
        .await?;
    let fork = json!({"at_seq": head});
    let forked = server
        .client
        .post(&format!("/v1/sessions/{session}/fork"), &fork)
        .await?
        .ok()?;
    let forked = perennial_tests::client::id(&forked)?;
    let log = server.client.log(&forked).await?;
    assert_eq!(
        log[..head as usize],
        server.client.log(&session).await?[..head as usize]
            .iter()
            .map(|event| {
                let mut event = event.clone();
                event["session_id"] = json!(forked);
                event
            })
            .collect::<Vec<_>>()[..]
    );
    server
        .client
        .say(&forked, "/tool bash {\"command\":\"cat f\"}\n/then\n/say two")
        .await?;
    let (events, _) = server.client.until_idle(&forked, head, PATIENCE).await?;
    let result = events
        .iter()
        .find(|event| event["type"] == "agent.tool_result")
        .context("no result")?;
    assert!(result.to_string().contains("one"), "{result}");
    server.kill().await
}

/// 10 MB of NULs from a tool: capped, made safe to store, and the turn goes on.
#[tokio::test]
async fn ten_megabytes_of_nuls_are_capped_and_made_safe() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    let script = "/tool bash {\"command\":\"head -c 10000000 /dev/zero\"}\n/then\n/say done";
    server.client.say(&session, script).await?;
    let (events, _) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let result = events
        .iter()
        .find(|event| event["type"] == "agent.tool_result")
        .context("no result")?;
    let text = result["content"][0]["text"].as_str().context("no text")?;
    assert!(!text.contains('\0') && text.contains('\u{FFFD}'));
    assert!(
        text.len() <= perennial_schema::limits::TOOL_OUTPUT_BYTES,
        "{} bytes",
        text.len()
    );
    assert!(kinds(&events).contains(&"agent.message"));
    server.kill().await
}

/// A turn that waits for a person costs nothing and outlives the server: parked, killed, restarted, approved, finished.
#[tokio::test]
async fn an_approval_outlives_the_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let up = Up::on(&dir.path().join("data"));
    let server = up.start().await?;
    let agent = json!({"name": "careful", "model": "rehearsal-1", "tools": [{"type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}}}]});
    let agent = perennial_tests::client::id(&server.client.post("/v1/agents", &agent).await?.ok()?)?;
    let (_, environment) = server.client.agent_and_environment("rehearsal-1").await?;
    let session = server.client.session(&agent, &environment).await?;
    let script =
        "/tool bash {\"command\":\"echo one > one\"}\n/tool bash {\"command\":\"echo two > two\"}\n/then\n/say done";
    server.client.say(&session, script).await?;
    let (events, last) = server.client.until_idle(&session, 0, PATIENCE).await?;
    let stop = &events.last().context("nothing")?["stop_reason"];
    assert_eq!(stop["type"], "requires_action");
    let asked: Vec<String> = serde_json::from_value(stop["event_ids"].clone())?;
    assert_eq!(asked.len(), 2);
    server.kill().await?;
    let server = up.start().await?;
    let answer = |id: &str, result: &str| json!({"events": [{"type": "user.tool_confirmation", "tool_use_id": id, "result": result}]});
    let path = format!("/v1/sessions/{session}/events");
    server.client.post(&path, &answer(&asked[0], "allow")).await?.ok()?;
    let waiting = server.client.get("/v1/approvals").await?.ok()?;
    assert_eq!(waiting["data"].as_array().map(Vec::len), Some(1), "{waiting}");
    let approval = &waiting["data"][0];
    assert_eq!(
        (
            &approval["session_id"],
            &approval["tool_use"]["id"],
            &approval["answer"]
        ),
        (&json!(session), &json!(asked[1]), &json!("user.tool_confirmation"))
    );
    // One of two is answered: still idle. The same answer again is a conflict, not a second effect.
    assert_eq!(
        server.client.post(&path, &answer(&asked[0], "allow")).await?.status,
        409
    );
    server.client.post(&path, &answer(&asked[1], "deny")).await?.ok()?;
    let (events, _) = server.client.until_idle(&session, last, PATIENCE).await?;
    let results: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "agent.tool_result")
        .collect();
    assert_eq!(results.len(), 2, "{:?}", kinds(&events));
    let of = |id: &str| {
        results
            .iter()
            .find(|result| result["tool_use_id"] == id)
            .map(|result| result["is_error"].clone())
    };
    assert_eq!((of(&asked[0]), of(&asked[1])), (Some(json!(false)), Some(json!(true))));
    let folder = dir.path().join("data/workspaces").join(&session);
    assert!(folder.join("one").exists() && !folder.join("two").exists());
    assert_eq!(server.client.get("/v1/approvals").await?.ok()?["data"], json!([]));
    server.kill().await
}

/// However an interrupt races the start of its turn, the turn ends: the two are sent a few milliseconds apart, many times.
#[tokio::test]
async fn an_interrupt_at_any_moment_ends_the_turn() -> Result<()> {
    let (_dir, server) = server().await?;
    let session = session(&server.client).await?;
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    let mut last = 0;
    for micros in (0..10_000).step_by(250) {
        server.client.say(&session, "/sleep 60000").await?;
        tokio::time::sleep(Duration::from_micros(micros)).await;
        server
            .client
            .post(&format!("/v1/sessions/{session}/events"), &interrupt)
            .await?
            .ok()?;
        let idle = server.client.until_idle(&session, last, Duration::from_secs(10)).await;
        (_, last) = idle.with_context(|| format!("{micros} µs apart"))?;
    }
    server.kill().await
}
