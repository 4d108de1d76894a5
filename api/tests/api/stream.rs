//! Event streams: nothing lost, nothing twice, whatever the bus does (INVARIANTS I11).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use perennial_api::Config;
use perennial_broker::bus::{local::Local, silent::Silent};
use perennial_engine::ports::{Delta, Ids as _};
use perennial_schema::event::{Body as EventBody, Draft, Empty, Message};
use perennial_schema::{EventId, Timestamp};
use serde_json::{Value, json};

use crate::client::Client;
use crate::rig::{Fresh, Rig, message};

async fn fill(rig: &Rig, session: &str, count: usize) {
    let one = message("x")["events"][0].clone();
    let mut left = count;
    while left > 0 {
        let now = left.min(100);
        let body = json!({"events": vec![one.clone(); now]});
        rig.post(&format!("/v1/sessions/{session}/events"), &body).await.ok();
        left -= now;
    }
}

#[tokio::test]
async fn a_stream_without_a_cursor_begins_now_and_frames_are_named() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    fill(&rig, &session, 3).await;
    let mut client = Client::open(&rig, &session, "").await;
    let sent = rig.say(&session, "hello\nworld").await;
    let frame = client.event().await.unwrap();
    assert_eq!((frame.event.as_deref(), frame.seq()), (Some("user.message"), Some(4)));
    assert_eq!(frame.data.unwrap(), sent["data"][0], "the same bytes as everywhere");
}

#[tokio::test]
async fn cursors_resume_and_after_wins() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    fill(&rig, &session, 10).await;
    assert_eq!(
        Client::open(&rig, &session, "after=0").await.ids(10).await,
        (1..=10).collect::<Vec<_>>()
    );
    let mut client = Client::with(&rig, &session, "", &[("last-event-id", "7")]).await;
    assert_eq!(client.ids(3).await, [8, 9, 10]);
    let mut client = Client::with(&rig, &session, "after=9", &[("last-event-id", "2")]).await;
    assert_eq!(client.ids(1).await, [10]);
    rig.say(&session, "more").await;
    assert_eq!(client.ids(1).await, [11]);
    let path = format!("/v1/sessions/{session}/events/stream");
    let ahead = rig.get(&format!("{path}?after=12")).await;
    ahead.refused(409, "invalid_request_error");
    assert_eq!(ahead.header("x-should-retry"), Some("false"));
    for query in ["after=x", "after=-1", "event_deltas[]=agent.tool_use", "include=all"] {
        rig.get(&format!("{path}?{query}"))
            .await
            .refused(400, "invalid_request_error");
    }
    let bad = rig
        .request("GET", &path)
        .header("last-event-id", "sevt_1")
        .body(Body::empty())
        .unwrap();
    rig.send(bad).await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn extensions_are_shown_on_request_and_numbers_stay() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let processed = EventBody::InputProcessed(perennial_schema::event::InputProcessed { event_ids: Vec::new() });
    rig.hold(
        &claimed,
        vec![processed, EventBody::SessionStatusRunning(Empty {})],
        false,
    )
    .await;
    assert_eq!(Client::open(&rig, &session, "after=0").await.ids(2).await, [1, 3]);
    assert_eq!(
        Client::open(&rig, &session, "after=0&include=extensions")
            .await
            .ids(3)
            .await,
        [1, 2, 3]
    );
}

#[tokio::test]
async fn many_clients_and_writers_see_exactly_the_log() {
    for bus in [
        Arc::new(Local::new()) as Arc<dyn perennial_engine::ports::Bus>,
        Arc::new(Silent),
    ] {
        let rig = Rig::with(bus, Rig::impatient(), |ports| ports).await;
        let session = rig.session().await;
        fill(&rig, &session, 5).await;
        let mut clients = Vec::new();
        for after in [0, 2, 5, 0, 4] {
            clients.push((after, Client::open(&rig, &session, &format!("after={after}")).await));
        }
        let writing = async {
            for _ in 0..4 {
                fill(&rig, &session, 150).await;
            }
        };
        let reading = futures_util::future::join_all(clients.iter_mut().map(|(after, client)| async move {
            let count = usize::try_from(605 - *after).unwrap();
            assert_eq!(client.ids(count).await, (*after + 1..=605).collect::<Vec<u64>>());
        }));
        futures_util::future::join(writing, reading).await;
    }
}

#[tokio::test]
async fn a_client_that_sleeps_through_the_ring_misses_nothing() {
    let rig = Rig::with(Arc::new(Local::new()), Rig::impatient(), |ports| ports).await;
    let session = rig.session().await;
    let mut slow = Client::open(&rig, &session, "").await;
    let mut quick = Client::open(&rig, &session, "").await;
    for _ in 0..4 {
        fill(&rig, &session, 250).await;
        quick.ids(250).await;
    }
    assert_eq!(slow.ids(1000).await, (1..=1000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn silent_streams_are_kept_alive() {
    let rig = Rig::with(Arc::new(Local::new()), Rig::impatient(), |ports| ports).await;
    let session = rig.session().await;
    let mut client = Client::open(&rig, &session, "").await;
    for _ in 0..3 {
        let frame = client.frame().await.unwrap();
        assert!(frame.comment && frame.event.is_none() && frame.id.is_none());
    }
}

#[tokio::test]
async fn streams_end_with_the_session() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let mut client = Client::open(&rig, &session, "").await;
    rig.text(&format!("/v1/sessions/{session}/archive"), "").await.ok();
    assert_eq!(
        client.event().await.unwrap().event.as_deref(),
        Some("session.status_terminated")
    );
    assert_eq!(client.event().await, None);
    let mut late = Client::open(&rig, &session, "").await;
    assert_eq!(late.event().await, None, "nothing will come");
    let mut replay = Client::open(&rig, &session, "after=0").await;
    assert_eq!((replay.ids(1).await, replay.event().await), (vec![1], None));
    let other = rig.session().await;
    let mut client = Client::open(&rig, &other, "").await;
    rig.delete(&format!("/v1/sessions/{other}")).await.ok();
    assert_eq!(client.event().await.unwrap().event.as_deref(), Some("session.deleted"));
    assert_eq!(client.event().await, None);
}

#[tokio::test]
async fn feeds_end_with_their_last_client() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let clients = (
        Client::open(&rig, &session, "").await,
        Client::open(&rig, &session, "").await,
    );
    drop(clients);
    tokio::time::timeout(Duration::from_secs(5), rig.api.drained())
        .await
        .expect("no task is left");
}

fn start(id: EventId) -> Delta {
    piece(
        id,
        "agent.message",
        0,
        &json!({"type": "event_start", "event": {"type": "agent.message", "id": id}}),
    )
}

fn more(id: EventId, n: u64, text: &str) -> Delta {
    let delta = json!({"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}});
    piece(
        id,
        "agent.message",
        n,
        &json!({"type": "event_delta", "event_id": id, "delta": delta}),
    )
}

fn piece(event_id: EventId, kind: &'static str, n: u64, payload: &Value) -> Delta {
    Delta {
        event_id,
        kind,
        n,
        payload: Bytes::from(payload.to_string()),
    }
}

fn said(id: EventId, words: &str) -> Draft {
    let content = perennial_schema::content::text_content(words);
    Draft::new(
        id,
        EventBody::AgentMessage(Message { content }),
        Timestamp::from_micros(0),
    )
}

#[tokio::test]
async fn previews_are_a_contiguous_prefix_and_only_for_who_asked() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let key = rig.session_key(&session);
    let mut asked = Client::open(&rig, &session, "event_deltas[]=agent.message").await;
    let mut plain = Client::open(&rig, &session, "").await;
    let mut thinking = Client::open(&rig, &session, "event_deltas[]=agent.thinking").await;
    let (whole, holed) = (Fresh.event(), Fresh.event());
    rig.bus.delta(key, start(whole));
    rig.bus.delta(
        key,
        piece(Fresh.event(), "agent.thinking", 0, &json!({"type": "event_start"})),
    );
    rig.bus.delta(key, more(whole, 1, "he"));
    rig.bus.delta(key, start(holed));
    rig.bus.delta(key, more(holed, 2, "lost one"));
    rig.bus.delta(key, more(holed, 1, "too late"));
    rig.bus.delta(key, more(whole, 2, "y"));
    let names: Vec<String> = asked
        .events(4)
        .await
        .into_iter()
        .map(|frame| {
            assert_eq!(frame.id, None, "a preview is no cursor");
            let data = frame.data.unwrap();
            let id = data["event_id"]
                .as_str()
                .or(data["event"]["id"].as_str())
                .unwrap()
                .to_owned();
            format!(
                "{} {}",
                frame.event.unwrap(),
                if id == whole.to_string() { "whole" } else { "holed" }
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "event_start whole",
            "event_delta whole",
            "event_start holed",
            "event_delta whole"
        ]
    );
    // Who comes late gets nothing of an event under way.
    let mut late = Client::open(&rig, &session, "event_deltas[]=agent.message").await;
    rig.bus.delta(key, more(whole, 3, "!"));
    assert_eq!(asked.event().await.unwrap().event.as_deref(), Some("event_delta"));
    rig.hold_drafts(&claimed, vec![said(whole, "hey!")], false)
        .await
        .unwrap();
    for client in [&mut asked, &mut plain, &mut late] {
        let frame = client.event().await.unwrap();
        assert_eq!((frame.event.as_deref(), frame.seq()), (Some("agent.message"), Some(2)));
        assert_eq!(frame.data.unwrap()["id"], whole.to_string());
    }
    assert_eq!(thinking.event().await.unwrap().event.as_deref(), Some("event_start"));
    assert_eq!(thinking.event().await.unwrap().event.as_deref(), Some("agent.message"));
    // Stragglers after the final event are dropped; the next event follows directly.
    rig.bus.delta(key, more(whole, 4, "?"));
    rig.bus.delta(key, start(whole));
    rig.say(&session, "next").await;
    assert_eq!(asked.event().await.unwrap().event.as_deref(), Some("user.message"));
}

#[tokio::test]
async fn a_dead_attempt_ends_its_previews() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let key = rig.session_key(&session);
    let begun = rig
        .hold(&claimed, vec![EventBody::SpanModelRequestStart(Empty {})], false)
        .await;
    let mut client = Client::open(&rig, &session, "event_deltas[]=agent.message").await;
    let dead = Fresh.event();
    rig.bus.delta(key, start(dead));
    assert_eq!(client.event().await.unwrap().event.as_deref(), Some("event_start"));
    let end = EventBody::SpanModelRequestEnd(perennial_schema::event::ModelRequestEnd {
        model_request_start_id: begun[0],
        model_usage: perennial_schema::model::Usage::default(),
        is_error: true,
    });
    rig.hold(&claimed, vec![end], false).await;
    assert_eq!(
        client.event().await.unwrap().event.as_deref(),
        Some("span.model_request_end")
    );
    rig.bus.delta(key, more(dead, 1, "ghost"));
    rig.say(&session, "next").await;
    assert_eq!(client.event().await.unwrap().event.as_deref(), Some("user.message"));
}

#[tokio::test]
async fn reconnects_at_random_places_add_up_to_the_log() {
    let config = Config {
        limits: Rig::impatient().limits,
        ..Config::default()
    };
    let rig = Rig::with(Arc::new(Local::new()), config, |ports| ports).await;
    let session = rig.session().await;
    let writing = fill(&rig, &session, 400);
    let reading = async {
        let mut seen: Vec<u64> = Vec::new();
        let mut step = 1;
        while seen.len() < 400 {
            let after = seen.last().copied().unwrap_or(0).to_string();
            let mut client = Client::with(&rig, &session, "", &[("last-event-id", &after)]).await;
            let count = step.min(400 - seen.len());
            seen.extend(client.ids(count).await);
            step = step * 7 % 31 + 1;
        }
        assert_eq!(seen, (1..=400).collect::<Vec<u64>>());
    };
    futures_util::future::join(writing, reading).await;
}
