//! Whoever runs the servers takes a worker out of the pool and puts it back: its sessions go on elsewhere, and nobody notices.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id};
use serde_json::{Value, json};

use crate::place::{Place, say};

/// Sessions at work; two workers share them.
const SESSIONS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_drained_worker_gives_its_sessions_to_the_others() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(1, 2).await?;
    let door = house.doors().requests.first().context("no node")?.clone();
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let sessions = at_work(&door, &agent, &environment, "/tokens 800 5\n/say done").await?;
    let workers = workers(&door).await?;
    ensure!(
        workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "active"),
        "{workers:?}"
    );
    ensure!(held(&workers) == SESSIONS as u64, "{workers:?}");
    let scaling = door.get("/v1/scaling/default").await?.ok()?;
    ensure!(
        scaling["wanted_slots"] == SESSIONS as u64 && scaling["workers"] == 2,
        "{scaling}"
    );

    let busy = workers
        .iter()
        .max_by_key(|worker| worker["sessions"].as_u64())
        .context("no worker")?;
    let (drained, had) = (id(busy)?, busy["sessions"].as_u64().unwrap_or(0));
    ensure!(had > 0, "nobody has anything: {workers:?}");
    steer(&door, &drained, "draining").await?;
    let begun = Instant::now();
    until(&door, |workers| find(workers, &drained)["state"] == "drained").await?;
    let gave_back = begun.elapsed();
    let undisturbed = at_work(&door, &agent, &environment, "/tokens 40 5\n/say done").await?;
    let expected = answers(&finished(&door, undisturbed.first().context("no session")?).await?);
    ensure!(expected > 0, "nobody answers");
    for session in &sessions {
        let said = answers(&finished(&door, session).await?);
        ensure!(said == expected, "{session} was answered {said} times, not {expected}");
    }
    // New work is for the other one alone, and so it is while the worker is merely cordoned.
    for state in ["draining", "cordoned"] {
        steer(&door, &drained, state).await?;
        let sessions = at_work(&door, &agent, &environment, "/tokens 400 5\n/say done").await?;
        ensure!(
            find(&self::workers(&door).await?, &drained)["sessions"] == 0,
            "a {state} worker claimed"
        );
        for session in &sessions {
            finished(&door, session).await?;
        }
    }
    steer(&door, &drained, "active").await?;
    let other = workers
        .iter()
        .map(id)
        .find(|id| id.as_ref().is_ok_and(|id| *id != drained))
        .context("one worker")??;
    steer(&door, &other, "draining").await?;
    until(&door, |workers| find(workers, &other)["state"] == "drained").await?;
    let sessions = at_work(&door, &agent, &environment, "/say back").await?;
    for session in &sessions {
        finished(&door, session).await?;
    }
    say(format_args!(
        "a drained worker gave back {had} sessions in {gave_back:?} (n = 1)"
    ));
    house.close().await;
    Ok(())
}

/// Two workers share a workspace's slots, and each keeps to them.
#[tokio::test]
async fn a_workspace_has_no_more_at_work_than_it_gets() -> Result<()> {
    const SLOTS: u64 = 3;
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let env = [("PERENNIAL_WORKSPACE_SLOTS".to_owned(), SLOTS.to_string())];
    let house = place.house_with(1, 2, &env).await?;
    let door = house.doors().requests.first().context("no node")?.clone();
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let session = door.session(&agent, &environment).await?;
        door.say(&session, "/tokens 60 5\n/say done").await?;
        sessions.push(session);
    }
    let (begun, mut full) = (Instant::now(), false);
    loop {
        let scaling = door.get("/v1/scaling/default").await?.ok()?;
        let number = |name: &str| scaling[name].as_u64().unwrap_or(u64::MAX);
        ensure!(number("held_sessions") <= SLOTS, "{scaling}");
        ensure!(
            number("wanted_slots") <= SLOTS,
            "what may not run wants no worker: {scaling}"
        );
        full |= number("held_sessions") == SLOTS && number("over_slots_sessions") > 0;
        if number("ready_sessions") + number("held_sessions") == 0 {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{scaling}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(full, "the slots were never all taken");
    for session in &sessions {
        ensure!(answers(&finished(&door, session).await?) > 0, "{session}");
    }
    house.close().await;
    Ok(())
}

/// Sessions that all have a worker.
async fn at_work(door: &Client, agent: &str, environment: &str, prompt: &str) -> Result<Vec<String>> {
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let session = door.session(agent, environment).await?;
        door.say(&session, prompt).await?;
        sessions.push(session);
    }
    for session in &sessions {
        let mut stream = door.stream(session, "", Some(0)).await?;
        while stream.next().await?.context("the stream ended")?.event != "span.model_request_start" {}
    }
    Ok(sessions)
}

/// What its turn left in the log.
async fn finished(door: &Client, session: &str) -> Result<Vec<Value>> {
    Ok(door.until_idle(session, 0, PATIENCE).await?.0)
}

fn answers(log: &[Value]) -> usize {
    log.iter().filter(|event| event["type"] == "agent.message").count()
}

async fn workers(door: &Client) -> Result<Vec<Value>> {
    let page = door.get("/v1/workers").await?.ok()?;
    page["data"].as_array().cloned().context("a page of workers")
}

async fn steer(door: &Client, id: &str, state: &str) -> Result<()> {
    let steered = door
        .send(
            door.request("PATCH", &format!("/v1/workers/{id}"))
                .json(&json!({"state": state})),
        )
        .await?
        .ok()?;
    ensure!(steered["id"] == id, "{steered}");
    Ok(())
}

async fn until(door: &Client, done: impl Fn(&[Value]) -> bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let workers = workers(door).await?;
        if done(&workers) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{workers:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn find<'a>(workers: &'a [Value], id: &str) -> &'a Value {
    workers.iter().find(|worker| worker["id"] == id).unwrap_or(&Value::Null)
}

fn held(workers: &[Value]) -> u64 {
    workers.iter().filter_map(|worker| worker["sessions"].as_u64()).sum()
}
