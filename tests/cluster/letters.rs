//! F36: mail in masses. Agents that answer each other for ever are stopped by the number of hops, whoever is killed meanwhile; and
//! a mailbox takes as much as there is room for, from however many at once and at whichever node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Json;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt as _;
use perennial_proof::prove::Fault;
use perennial_rehearsal::{Frame, Rehearsal, Wire};
use perennial_tests::client::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::place::{Place, either, say, seed};

const PATIENCE: Duration = Duration::from_secs(240);
/// Messages of a conversation that nobody but agents is in: the first, and one for each hop.
const CHAIN: usize = 65;
/// What the last of them is told.
const CIRCLE: &str = "without a person or a program writing in it";
/// Messages that may wait in one mailbox.
const ROOM: usize = 1_000;
/// Senders at the same time.
const SENDERS: usize = 32;

/// A model that sends every message on, to the agent it came to.
async fn restless() -> Result<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let model = std::sync::Arc::new(Rehearsal::default());
    let router = axum::Router::new().route(
        "/v1/messages",
        post(move |Json(mut body): Json<Value>| {
            let model = model.clone();
            async move {
                let last = body["messages"].as_array().and_then(|all| all.last()).cloned();
                let answered = last.unwrap_or_default().to_string().contains("tool_result");
                let script = match answered {
                    true => "/say sent on".to_owned(),
                    false => format!("/tool send_message {}", json!({"to": "agent/circle", "content": "on"})),
                };
                body["messages"] = json!([{"role": "user", "content": script}]);
                let answer = model.answer(Wire::Messages, &body);
                let mut response = Response::builder().status(answer.status);
                for (name, value) in &answer.headers {
                    response = response.header(name, value);
                }
                let frames = answer.frames.into_iter().map(|frame| match frame {
                    Frame::Data { text, .. } => text,
                    Frame::Cut => String::new(),
                });
                response
                    .body(Body::from(frames.collect::<String>()))
                    .unwrap_or_default()
            }
        }),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// Sends a message, in answer to another, as whoever reads that queue.
async fn send(door: &Client, to: &str, answers: &Value) -> Result<Value> {
    let mut body = json!({"content": "go"});
    if let Some(id) = answers["id"].as_str() {
        body["in_reply_to"] = json!(id);
        body["reply_to"] = json!("queue/on-the-way");
    }
    let sent = door.post(&format!("/v1/mailboxes/{to}/messages"), &body).await?;
    sent.ok()
}

/// All mail of a mailbox.
async fn mail(door: &Client, mailbox: &str) -> Result<Vec<Value>> {
    let (mut all, mut page) = (Vec::new(), String::new());
    loop {
        let listed = door
            .get(&format!("/v1/mailboxes/{mailbox}/messages?limit=100{page}"))
            .await?
            .ok()?;
        all.extend(listed["data"].as_array().context("a list")?.iter().cloned());
        match listed["next_page"].as_str() {
            Some(next) => page = format!("&page={next}"),
            None => return Ok(all),
        }
    }
}

/// The logs of sessions that sent more than one message.
async fn sent_twice(door: &Client, all: &[Value]) -> Result<Vec<Vec<Value>>> {
    let mut senders: Vec<&str> = all.iter().filter_map(|mail| mail["from"].as_str()).collect();
    senders.sort_unstable();
    let twice = senders.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    let mut logs = Vec::new();
    for sender in twice.filter_map(|from| from.strip_prefix("session/")).take(2) {
        logs.push(door.log(sender).await?);
    }
    Ok(logs)
}

#[tokio::test]
async fn mail_that_goes_in_circles_comes_to_an_end() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    // Hand-overs are noted late, now and then: the receiver has sent the message on by then.
    let env = [
        (
            "PERENNIAL_STALL_AT".to_owned(),
            "mail.settle.before=20%sleep(300)".to_owned(),
        ),
        ("ANTHROPIC_BASE_URL".to_owned(), restless().await?),
        ("ANTHROPIC_API_KEY".to_owned(), "sk-test".to_owned()),
    ];
    let mut house = place.house_with(2, 2, &env).await?;
    let mut rng = StdRng::seed_from_u64(seed("circles"));
    let door = house.doors().requests.first().context("no node")?.clone();
    let (_, environment) = door.agent_and_environment("rehearsal-1").await?;
    let agent = json!({"name": "circle", "model": "claude-test-1", "tools": [{"type": "mail_toolset"}],
        "mail": {"environment_id": environment}});
    door.post("/v1/agents", &agent).await?.ok()?;
    // A short way to the end is gone by programs before the first agent has it.
    let (circles, kills, walked) = either((20, 60, 0), (1, 0, CHAIN - 12));
    let chain = CHAIN - walked;
    for _ in 0..circles {
        let mut last = Value::Null;
        for _ in 0..walked {
            last = send(&door, "queue/on-the-way", &last).await?;
        }
        send(&door, "agent/circle", &last).await?;
    }
    let begun = Instant::now();
    let mut struck = 0;
    let all = loop {
        if struck < kills {
            let fault = *[Fault::KillWorker, Fault::KillServer]
                .get(rng.random_range(0..2))
                .context("a fault")?;
            house.strike(fault, &mut rng).await?;
            struck += 1;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..400))).await;
        let Ok(all) = mail(&door, "agent/circle").await else {
            continue;
        };
        ensure!(
            all.len() <= circles * chain,
            "{} messages: {:#?}",
            all.len(),
            sent_twice(&door, &all).await?
        );
        let delivered = all.iter().all(|mail| mail["state"] == "delivered");
        if struck == kills && delivered && all.len() == circles * chain {
            break all;
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} of {} messages came",
            all.len(),
            circles * chain
        );
    };
    let took = begun.elapsed();
    // Each is in the log of a session of its own, once.
    let mut sessions: Vec<&str> = all.iter().filter_map(|mail| mail["session_id"].as_str()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    ensure!(
        sessions.len() == all.len(),
        "{} sessions of {} messages",
        sessions.len(),
        all.len()
    );
    let (mut stopped, mut received) = (0, 0);
    for session in sessions {
        door.until_idle(session, 0, PATIENCE).await?;
        let log = door.log(session).await?;
        received += log.iter().filter(|event| event["type"] == "mail.received").count();
        let refused = |event: &&Value| event["type"] == "agent.tool_result" && event.to_string().contains(CIRCLE);
        stopped += log.iter().filter(refused).count();
    }
    let last = mail(&door, "agent/circle").await?.len();
    say(format_args!(
        "mail in circles: {circles} circles of {chain} messages, {struck} SIGKILLs meanwhile, {received} received in {took:?}, \
         {stopped} stopped by the number of hops, {} more afterwards",
        last - all.len()
    ));
    ensure!(
        received == circles * chain && stopped == circles && last == all.len(),
        "see above"
    );
    house.close().await;
    Ok(())
}

#[tokio::test]
async fn a_mailbox_takes_what_there_is_room_for() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 0).await?;
    let doors = house.doors().requests;
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    let boxes = either(10, 1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..boxes {
        let session = doors[0].session(&agent, &environment).await?;
        let path = format!("/v1/mailboxes/session/{session}/messages");
        let later = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
        let sent = futures_util::stream::iter(0..ROOM + 200).map(|number| {
            let (door, path, later) = (&doors[number % 2], &path, &later);
            async move {
                let body = json!({"content": "x", "deliver_at": later});
                let answer = door.post_once(path, &format!("{path}-{number}"), &body).await?;
                match answer.status {
                    200 => Ok(true),
                    429 => {
                        ensure!(
                            answer.body["error"]["details"]["error_code"] == "mailbox_full",
                            "{answer:?}"
                        );
                        Ok(false)
                    }
                    _ => anyhow::bail!("{answer:?}"),
                }
            }
        });
        let sent: Vec<Result<bool>> = sent.buffer_unordered(SENDERS).collect().await;
        let mut here = 0;
        for sent in sent {
            match sent? {
                true => here += 1,
                false => refused += 1,
            }
        }
        let waiting = mail(&doors[1], &format!("session/{session}")).await?.len();
        ensure!(waiting == here, "{here} taken, {waiting} there");
        ensure!(
            (ROOM..=ROOM + SENDERS).contains(&here),
            "{here} taken where there is room for {ROOM}"
        );
        taken += here;
    }
    say(format_args!(
        "mail in masses: {SENDERS} senders at two nodes, {boxes} mailboxes with room for {ROOM}: {taken} messages taken, {refused} told to \
         wait"
    ));
    ensure!(refused > 0, "nobody was told to wait: the rig is vacuous");
    house.close().await;
    Ok(())
}
