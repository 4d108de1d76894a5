//! Every request is counted: heard to its end or not, packed or not, whatever came of it.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt as _;
use perennial_engine::ports::{BudgetMetric, BudgetPeriod};
use perennial_gateway::Wire;
use perennial_schema::model::Usage;
use tokio::io::AsyncReadExt as _;

use crate::rig::{PRICED, Reply, Rig, WIRES, ask, stream};

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

const TOLD: Usage = Usage {
    input_tokens: 6,
    output_tokens: 7,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 4,
};

#[tokio::test]
async fn streams_are_counted_plain_and_packed_on_every_wire() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let tokens = rig.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000_000).await;
    let money = rig.budget(BudgetMetric::Money, BudgetPeriod::Total, 1_000_000).await;
    let mut requests = 0;
    for (wire, provider, path) in WIRES {
        for packed in [false, true] {
            let body = if packed {
                gzip(stream(wire).as_bytes())
            } else {
                stream(wire).into()
            };
            let mut reply = Reply::of(200, "text/event-stream", body.clone());
            if packed {
                reply = reply.header("content-encoding", "gzip");
            }
            rig.push(reply);
            let asked = rig.post(&format!("/{provider}{path}"), &key, ask(PRICED));
            let answer = asked.header("accept-encoding", "gzip, br").send().await.unwrap();
            assert_eq!(answer.bytes().await.unwrap(), body, "{wire}: passed on as it came");
            requests += 1;
            let traces = rig.traces().await;
            let trace = &traces[0];
            assert_eq!(traces.len(), requests);
            assert_eq!(
                (trace.usage, trace.status, trace.error.as_deref()),
                (TOLD, 200, None),
                "{wire} {packed}"
            );
            assert_eq!(
                (trace.model.as_str(), trace.provider.as_str(), trace.wire.as_str()),
                (PRICED, provider, wire.as_str())
            );
            assert!(trace.streamed && trace.ttft_ms.is_some());
            assert_eq!(trace.microusd, 125, "6 × 3 + 7 × 15 + 4 × 0.3, rounded up");
        }
    }
    let used = rig.settled(tokens).await;
    assert_eq!((used.used, used.reserved), (17 * requests as u64, 0));
    let used = rig.settled(money).await;
    assert_eq!((used.used, used.reserved), (125 * requests as u64, 0));
}

#[tokio::test]
async fn what_is_no_stream_is_counted_too() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let body =
        r#"{"id":"x","usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    rig.push(Reply::of(200, "application/json", body));
    let asked = rig.post("/local/v1/chat/completions", &key, r#"{"model":"m"}"#);
    assert_eq!(asked.send().await.unwrap().text().await.unwrap(), body);
    let traces = rig.traces().await;
    assert_eq!((traces[0].usage, traces[0].streamed), (TOLD, false));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_request_and_pays_for_what_was_said() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let tokens = rig.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000_000).await;
    for (wire, provider, path) in WIRES {
        let before = rig.settled(tokens).await.used;
        let (reply, speaker) = Reply::spoken("text/event-stream");
        rig.push(reply);
        let answer = rig
            .post(&format!("/{provider}{path}"), &key, ask("m"))
            .send()
            .await
            .unwrap();
        let first = stream(wire).split_inclusive("\n\n").next().unwrap();
        speaker.say(first).await;
        let mut pieces = answer.bytes_stream();
        pieces.next().await.unwrap().unwrap();
        drop(pieces);
        tokio::time::timeout(Duration::from_secs(5), speaker.left())
            .await
            .expect("the provider is told");
        let used = rig.settled(tokens).await;
        let spent = used.used - before;
        match wire {
            // It has said what it read.
            Wire::Messages => assert_eq!(spent, 11, "6 + 4 + 1"),
            // It has said nothing: what was reserved counts.
            Wire::Responses | Wire::Chat => assert_eq!(spent, ask("m").len() as u64 / 4 + 100, "{wire}"),
        }
        assert_eq!(used.reserved, 0);
        assert_eq!(
            rig.traces().await[0].error.as_deref(),
            Some("the caller left"),
            "{wire}"
        );
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_begins_pays_what_was_reserved() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let tokens = rig.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000_000).await;
    let asking = tokio::spawn(rig.post("/mute/v1/responses", &key, ask("m")).send());
    let (mut connection, _) = rig.mute.accept().await.unwrap();
    let mut heard = [0; 64];
    assert!(connection.read(&mut heard).await.unwrap() > 0, "the request has left");
    assert_eq!(rig.settled(tokens).await.reserved, ask("m").len() as u64 / 4 + 100);
    asking.abort();
    // The provider is told by the end of its connection.
    let ended = async { while connection.read(&mut heard).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("the provider is told");
    let used = rig.settled(tokens).await;
    assert_eq!((used.used, used.reserved), (ask("m").len() as u64 / 4 + 100, 0));
    assert_eq!(rig.traces().await[0].error.as_deref(), Some("the caller left"));
}

#[tokio::test]
async fn failures_count_as_requests_and_cost_no_tokens() {
    let rig = Rig::with(Duration::from_millis(300)).await;
    let key = rig.key().await;
    let requests = rig.budget(BudgetMetric::Requests, BudgetPeriod::Total, 1_000).await;
    let tokens = rig.budget(BudgetMetric::Tokens, BudgetPeriod::Total, 1_000_000).await;
    for status in [400, 401, 429, 500, 529] {
        rig.push(Reply::of(status, "application/json", "{}"));
        let answer = rig.post("/v1/messages", &key, ask("m")).send().await.unwrap();
        assert_eq!(answer.status(), status);
        answer.bytes().await.unwrap();
    }
    let answer = rig
        .post("/gone/v1/chat/completions", &key, ask("m"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("cannot be reached") && !text.contains("127.0.0.1"),
        "{text}"
    );
    let used = rig.settled(requests).await;
    assert_eq!((used.used, used.reserved), (6, 0));
    assert_eq!(rig.settled(tokens).await.used, 0);

    // Cut in the middle, and silent in the middle.
    let first = stream(Wire::Messages).split_inclusive("\n\n").next().unwrap();
    for cut in [true, false] {
        let (reply, speaker) = Reply::spoken("text/event-stream");
        rig.push(reply);
        let answer = rig.post("/v1/messages", &key, ask("m")).send().await.unwrap();
        speaker.say(first).await;
        let mut pieces = answer.bytes_stream();
        pieces.next().await.unwrap().unwrap();
        let mut silent = Some(speaker);
        if cut && let Some(speaker) = silent.take() {
            speaker.cut().await;
        }
        let end = pieces.next().await.expect("something");
        assert!(end.is_err(), "the caller sees that it is not whole");
        let fault = if cut { "cut" } else { "silent" };
        assert_eq!(rig.traces().await[0].error.as_deref(), Some(fault));
    }
    assert_eq!(rig.settled(requests).await.used, 8);
    assert_eq!(rig.settled(tokens).await.used, 22);
}
