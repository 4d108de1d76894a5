//! Turn 1 Claude Code, turn 2 Codex, turn 3 our own loop on Chat Completions, turn 4 Claude Code again; then forks at the end
//! of turn 2 into every other brain. Every request is valid for its vendor and carries the whole conversation so far.

use anyhow::{Context as _, Result, ensure};
use perennial_tests::harnesses::Pinned;
use perennial_tests::server::Server;
use serde_json::{Value, json};

use crate::house::{House, script, switch, traces};

const ANTHROPIC: &str = "claude-test-1";
const RESPONSES: &str = "openai/gpt-test";
const CHAT: &str = "chat/scripted";

/// How many requests both vendors got.
fn heard(house: &House) -> (usize, usize) {
    (house.anthropic.requests().len(), house.openai.requests().len())
}

/// The requests since then, as they came.
fn since(house: &House, (anthropic, openai): (usize, usize)) -> Vec<String> {
    let requests = [
        &house.anthropic.requests()[anthropic..],
        &house.openai.requests()[openai..],
    ]
    .concat();
    requests.into_iter().map(|request| request.raw).collect()
}

/// One turn, whose requests carry all turns before it, and none that is not its own.
async fn turn(
    house: &House,
    server: &Server,
    session: &str,
    after: u64,
    n: u32,
    told: &[u32],
    never: &[u32],
) -> Result<(Vec<Value>, u64)> {
    let before = heard(house);
    let (events, last) = house.turn(server, session, after, &script(n)).await?;
    let requests = since(house, before);
    ensure!(requests.len() >= 2, "turn {n} made {} requests", requests.len());
    for request in &requests {
        for trace in told.iter().copied().flat_map(traces) {
            ensure!(request.contains(&trace), "turn {n}: {trace} is missing in {request}");
        }
        for trace in never.iter().copied().flat_map(traces) {
            ensure!(
                !request.contains(&trace),
                "turn {n}: {trace} came from nowhere into {request}"
            );
        }
    }
    let last_request = requests.last().context("no request")?;
    for trace in &traces(n)[..3] {
        ensure!(
            last_request.contains(trace),
            "turn {n}: {trace} is missing in {last_request}"
        );
    }
    let said = |text: &str| {
        events
            .iter()
            .any(|event| event["type"] == "agent.message" && event.to_string().contains(text))
    };
    ensure!(said(&format!("after-{n}")), "turn {n}: {events:#?}");
    Ok((events, last))
}

#[tokio::test]
async fn one_conversation_across_all_brains_and_forks_of_it() -> Result<()> {
    if Pinned::ClaudeCode.installed()?.is_none() || Pinned::Codex.installed()?.is_none() {
        return Ok(());
    }
    let house = House::new().await?;
    let server = house.up.start().await?;
    let (agent, environment) = server.client.agent_on(ANTHROPIC, "claude-code").await?;
    let session = server.client.session(&agent, &environment).await?;

    let (_, first) = turn(&house, &server, &session, 0, 1, &[], &[]).await?;
    switch(&server, &session, "codex", RESPONSES).await?;
    let (_, second) = turn(&house, &server, &session, first, 2, &[1], &[]).await?;
    switch(&server, &session, "native", CHAT).await?;
    let (_, third) = turn(&house, &server, &session, second, 3, &[1, 2], &[]).await?;
    switch(&server, &session, "claude-code", ANTHROPIC).await?;
    let (_, fourth) = turn(&house, &server, &session, third, 4, &[1, 2, 3], &[]).await?;
    house.check()?;

    let log = server.client.log(&session).await?;
    let changes: Vec<&Value> = log
        .iter()
        .filter(|event| event["type"] == "harness.changed")
        .map(|event| &event["payload"])
        .collect();
    assert_eq!(changes.len(), 3, "{changes:#?}");
    let uses = log.iter().filter(|event| event["type"] == "agent.tool_use").count();
    assert_eq!(uses, 4, "no call was asked for twice");
    ensure!(log.last().is_some_and(|event| event["seq"] == fourth));

    // At the end of turn 2, by the id of its last event, into every brain.
    let at = log
        .iter()
        .find(|event| event["seq"] == second)
        .context("no end of turn 2")?["id"]
        .clone();
    for (n, (harness, model)) in (10..).zip([
        ("native", ANTHROPIC),
        ("native", RESPONSES),
        ("native", CHAT),
        ("claude-code", ANTHROPIC),
        ("codex", RESPONSES),
    ]) {
        let body = json!({"at_event": at, "agent": {"harness": harness, "model": model}});
        let path = format!("/v1/sessions/{session}/fork");
        let fork = server.client.post(&path, &body).await?.ok()?;
        let fork = fork["id"].as_str().context("no id")?;
        let head = server.client.log(fork).await?.len() as u64;
        turn(&house, &server, fork, head, n, &[1, 2], &[3, 4])
            .await
            .with_context(|| format!("forked into {harness} on {model}"))?;
    }
    // What was forked from is as it was.
    assert_eq!(server.client.log(&session).await?, log);
    house.check()?;
    server.kill().await?;
    Ok(())
}

/// A cut inside a turn, behind a call that has no result: it is closed, never run, and the other brain is told.
#[tokio::test]
async fn a_cut_in_the_middle_of_a_turn_goes_on_with_another_brain() -> Result<()> {
    let house = House::new().await?;
    let server = house.up.start().await?;
    let (agent, environment) = server.client.agent_on(ANTHROPIC, "native").await?;
    let session = server.client.session(&agent, &environment).await?;
    let (_, _) = turn(&house, &server, &session, 0, 1, &[], &[]).await?;
    let log = server.client.log(&session).await?;
    // Everywhere a client could cut.
    for event in &log {
        let cut = event["seq"].as_u64().context("no seq")?;
        let body = json!({"at_seq": cut, "agent": {"model": RESPONSES}});
        let path = format!("/v1/sessions/{session}/fork");
        let fork = server.client.post(&path, &body).await?.ok()?;
        let fork = fork["id"].as_str().context("no id")?;
        let copy = server.client.log(fork).await?;
        let say = format!("/say forked-at-{cut}");
        let (events, _) = house
            .turn(&server, fork, copy.len() as u64, &say)
            .await
            .with_context(|| format!("cut behind {event}"))?;
        ensure!(json!(events).to_string().contains(&format!("forked-at-{cut}")));
    }
    house.check()?;
    server.kill().await?;
    Ok(())
}
