//! Budgets through the whole house: a session rests at the limit, and goes on with what it owed when there is room again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// Two model requests with a tool call in between.
const SCRIPT: &str = "/tool bash {\"command\":\"echo once >> ledger; cat ledger\"}\n/then\n/say finished";

async fn server(dir: &tempfile::TempDir) -> Result<Server> {
    Up::on(&dir.path().join("data")).start().await
}

async fn session(client: &Client) -> Result<String> {
    let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
    client.session(&agent, &environment).await
}

async fn budget(client: &Client, limit: u64, period: &str) -> Result<String> {
    let body = json!({"metric": "requests", "limit": limit, "period": period});
    id(&client.post("/v1/budgets", &body).await?.ok()?)
}

async fn raise(client: &Client, budget: &str, limit: u64) -> Result<Value> {
    let path = format!("/v1/budgets/{budget}");
    client.post(&path, &json!({ "limit": limit })).await?.ok()
}

fn last_stop(events: &[Value]) -> &str {
    let idle = events.iter().rev().find(|event| event["type"] == "session.status_idle");
    idle.and_then(|idle| idle["stop_reason"]["type"].as_str())
        .unwrap_or("none")
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// Says the script with room for one request only, and checks how the session rests.
async fn parked(client: &Client, session: &str, budget: &str) -> Result<u64> {
    client.say(session, SCRIPT).await?;
    let (events, seq) = client.until_idle(session, 0, PATIENCE).await?;
    ensure!(last_stop(&events) == "budget_reached", "{events:#?}");
    let error = events
        .iter()
        .find(|event| event["type"] == "session.error")
        .context("an error")?;
    let message = error["error"]["message"].as_str().unwrap_or_default();
    ensure!(error["error"]["type"] == "billing_error", "{error}");
    for said in [budget, "1 requests of 1 requests", "perennial budget raise"] {
        ensure!(message.contains(said), "{message}");
    }
    let shown = client
        .get(&format!("/v1/sessions/{session}?include=extensions"))
        .await?
        .ok()?;
    ensure!(
        shown["status"] == "idle" && shown["perennial"]["budget_hold"] == budget,
        "{shown}"
    );
    Ok(seq)
}

/// After a raise: nothing said again, no command run again.
async fn finished(client: &Client, session: &str, after: u64) -> Result<()> {
    let (events, _) = client.until_idle(session, after, PATIENCE).await?;
    ensure!(last_stop(&events) == "end_turn", "{events:#?}");
    ensure!(
        events.iter().any(|event| event.to_string().contains("finished")),
        "{events:#?}"
    );
    let log = client.log(session).await?;
    let all: Vec<Value> = log.iter().map(|event| event["payload"].clone()).collect();
    ensure!(
        count(&all, "tool.dispatched") == 1 && count(&all, "user.message") == 1,
        "{all:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_raise_has_the_session_go_on_with_what_it_owed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = server(&dir).await?;
    let (client, session) = (&server.client, session(&server.client).await?);
    let budget = budget(client, 1, "total").await?;
    let seq = parked(client, &session, &budget).await?;
    let raised = raise(client, &budget, 2).await?;
    ensure!(raised["limit"] == 2, "{raised}");
    finished(client, &session, seq).await?;
    let used = client.get(&format!("/v1/budgets/{budget}")).await?.ok()?;
    ensure!(used["used"] == 2 && used["reserved"] == 0, "{used}");
    let usage = client.get("/v1/usage?group_by=session").await?.ok()?;
    ensure!(usage["data"][0]["group"] == session.as_str(), "{usage}");
    server.kill().await
}

/// The server dies while the session rests, and again right after the raise was answered.
#[tokio::test]
async fn a_session_rests_and_goes_on_over_sigkill() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = server(&dir).await?;
    let session = session(&first.client).await?;
    let budget = budget(&first.client, 1, "day").await?;
    let seq = parked(&first.client, &session, &budget).await?;
    first.kill().await?;

    let second = server(&dir).await?;
    let shown = second
        .client
        .get(&format!("/v1/sessions/{session}?include=extensions"))
        .await?
        .ok()?;
    ensure!(shown["perennial"]["stop_reason"]["type"] == "budget_reached", "{shown}");
    raise(&second.client, &budget, 2).await?;
    second.kill().await?;

    let third = server(&dir).await?;
    finished(&third.client, &session, seq).await?;
    third.kill().await
}

/// At every point around the rest itself: whatever dies, the session rests for the budget or tries again and then does.
#[tokio::test]
async fn dying_while_it_comes_to_rest_loses_nothing() -> Result<()> {
    for point in ["worker.hold.before=1", "worker.hold.after=1"] {
        let dir = tempfile::tempdir()?;
        let first = server(&dir).await?;
        let session = session(&first.client).await?;
        let budget = budget(&first.client, 1, "total").await?;
        first.kill().await?;
        let mut dying = Up::on(&dir.path().join("data"))
            .env("PERENNIAL_KILL_AT", point)
            .start()
            .await?;
        dying.client.say(&session, SCRIPT).await?;
        dying.ended(PATIENCE).await.context(point)?;

        let third = server(&dir).await?;
        let rests = async {
            loop {
                let shown = third
                    .client
                    .get(&format!("/v1/sessions/{session}?include=extensions"))
                    .await?
                    .ok()?;
                if shown["perennial"]["budget_hold"] == budget.as_str() && shown["status"] == "idle" {
                    return anyhow::Ok(shown);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let shown = tokio::time::timeout(PATIENCE, rests).await.context(point)??;
        let seq = shown["perennial"]["head"].as_u64().context("a head")?;
        raise(&third.client, &budget, 9).await?;
        finished(&third.client, &session, seq).await?;
        third.kill().await?;
    }
    Ok(())
}

#[tokio::test]
async fn new_input_tries_again_and_an_interrupt_ends_the_wait() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = server(&dir).await?;
    let (client, session) = (&server.client, session(&server.client).await?);
    let budget = budget(client, 1, "total").await?;
    let seq = parked(client, &session, &budget).await?;
    client.say(&session, "/say more").await?;
    let (events, seq) = client.until_idle(&session, seq, PATIENCE).await?;
    ensure!(
        last_stop(&events) == "budget_reached" && count(&events, "session.error") == 1,
        "{events:#?}"
    );

    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    client
        .post(&format!("/v1/sessions/{session}/events"), &interrupt)
        .await?
        .ok()?;
    let (events, seq) = client.until_idle(&session, seq, PATIENCE).await?;
    ensure!(last_stop(&events) == "end_turn", "{events:#?}");
    raise(client, &budget, 9).await?;
    client.say(&session, "/say hello again").await?;
    let (events, _) = client.until_idle(&session, seq, PATIENCE).await?;
    ensure!(last_stop(&events) == "end_turn", "{events:#?}");
    server.kill().await
}

#[tokio::test]
async fn a_deleted_budget_lets_everybody_go() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = server(&dir).await?;
    let (client, session) = (&server.client, session(&server.client).await?);
    let budget = budget(client, 1, "day").await?;
    let seq = parked(client, &session, &budget).await?;
    client
        .send(client.request("DELETE", &format!("/v1/budgets/{budget}")))
        .await?
        .ok()?;
    finished(client, &session, seq).await?;
    server.kill().await
}
