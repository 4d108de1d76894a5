//! What goes through goes through as it is, and at once.

use std::time::Duration;

use futures_util::StreamExt as _;
use perennial_gateway::Wire;

use crate::rig::{CANARY, Reply, Rig, WIRES, stream};

/// Not how any JSON library would write it.
const ODD: &str = "{ \"model\" : \"m\\u0031\",\t\"max_tokens\":100,\n \"stream\":true, \"unknown\" : [1.50, 1e400, \"\\u00e9\"], \"messages\":[] }\r\n";

#[tokio::test]
async fn bytes_are_the_same_on_both_sides_on_every_wire() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    for (n, (wire, provider, path)) in WIRES.into_iter().enumerate() {
        let kind = "text/event-stream; charset=utf-8";
        rig.push(
            Reply::of(200, kind, stream(wire))
                .header("request-id", "req_provider")
                .header("anthropic-ratelimit-requests-remaining", "7")
                .header("set-cookie", "a=b"),
        );
        let sent = rig
            .post(&format!("/{provider}{path}?beta=true&x=%2F"), &key, ODD)
            .header("anthropic-beta", "one,two")
            .header("x-api-key", "")
            .header("cookie", "session=secret")
            .header("accept-encoding", "br")
            .header("x-stainless-os", "Linux");
        let sent = sent.build().unwrap();
        let mut sent = sent;
        sent.headers_mut().remove("x-api-key");
        let answer = rig.http.execute(sent).await.unwrap();
        assert_eq!(answer.status(), 200, "{wire}");
        assert_eq!(answer.headers()["content-type"], kind);
        assert_eq!(answer.headers()["request-id"], "req_provider");
        assert_eq!(answer.headers()["anthropic-ratelimit-requests-remaining"], "7");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(answer.bytes().await.unwrap(), stream(wire).as_bytes(), "{wire}");

        let got = &rig.received()[n];
        assert_eq!(
            (got.method.as_str(), got.uri.as_str()),
            ("POST", format!("{path}?beta=true&x=%2F").as_str())
        );
        assert_eq!(got.body, ODD.as_bytes(), "{wire}");
        assert_eq!(got.headers["anthropic-beta"], "one,two");
        assert_eq!(got.headers["x-stainless-os"], "Linux");
        assert_eq!(got.headers["accept-encoding"], "identity", "only what can be read");
        assert!(!got.headers.contains_key("cookie"));
        let (ours, other) = match wire {
            Wire::Messages => (("x-api-key", CANARY.to_owned()), "authorization"),
            Wire::Responses | Wire::Chat => (("authorization", format!("Bearer {CANARY}")), "x-api-key"),
        };
        assert_eq!(got.headers[ours.0], ours.1, "{wire}");
        assert!(!got.headers.contains_key(other), "the caller's key stays here");
        let text = format!("{:?}", got.headers);
        assert!(!text.contains("vk_"), "{text}");
    }
}

#[tokio::test]
async fn other_endpoints_pass_too_and_cost_nothing() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let counted = rig.post("/v1/messages/count_tokens", &key, r#"{"model":"m","messages":[]}"#);
    assert_eq!(counted.send().await.unwrap().status(), 200);
    for (path, header) in [
        ("/v1/models", true),
        ("/v1/models/claude-x", true),
        ("/openai/v1/models", false),
    ] {
        let mut ask = rig.http.get(format!("{}{path}", rig.base)).bearer_auth(&key);
        if header {
            ask = ask.header("anthropic-version", "2023-06-01");
        }
        assert_eq!(ask.send().await.unwrap().status(), 200, "{path}");
    }
    let uris: Vec<String> = rig.received().into_iter().map(|got| got.uri).collect();
    assert_eq!(
        uris,
        [
            "/v1/messages/count_tokens",
            "/v1/models",
            "/v1/models/claude-x",
            "/v1/models"
        ]
    );
    assert!(rig.traces().await.is_empty());
}

#[tokio::test]
async fn each_piece_is_passed_on_before_the_next_is_sent() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    for (wire, provider, path) in WIRES {
        let (reply, speaker) = Reply::spoken("text/event-stream");
        rig.push(reply);
        let answer = rig
            .post(&format!("/{provider}{path}"), &key, crate::rig::ask("m"))
            .send();
        let mut pieces = answer.await.unwrap().bytes_stream();
        for piece in stream(wire).split_inclusive('\n') {
            speaker.say(piece).await;
            // Nothing more is sent until this one is here.
            let heard = tokio::time::timeout(Duration::from_secs(5), pieces.next()).await;
            assert_eq!(heard.expect("at once").unwrap().unwrap(), piece, "{wire}");
        }
        drop(speaker);
        assert!(pieces.next().await.is_none(), "{wire}");
    }
}

#[tokio::test]
async fn errors_and_redirects_are_the_providers_own() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    rig.push(Reply::of(529, "application/json", body).header("retry-after", "3"));
    let answer = rig
        .post("/v1/messages", &key, crate::rig::ask("m"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (529, &b"3"[..])
    );
    assert!(!answer.headers().contains_key("x-perennial-refused"));
    assert_eq!(answer.text().await.unwrap(), body);

    rig.push(Reply::of(307, "text/plain", "").header("location", "http://127.0.0.1:1/stolen"));
    let answer = rig
        .post("/v1/messages", &key, crate::rig::ask("m"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 307, "not followed");
    assert_eq!(rig.received().len(), 2);
}

#[tokio::test]
async fn a_key_that_the_provider_repeats_is_blotted_out() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let body = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {CANARY}.\"}}}}");
    rig.push(
        Reply::of(401, "application/json", body.clone())
            .header("x-echo", CANARY)
            .header("content-length", &body.len().to_string()),
    );
    let answer = rig
        .post("/openai/v1/responses", &key, crate::rig::ask("m"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert!(!format!("{:?}", answer.headers()).contains(CANARY));
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("[the API key]") && !text.contains(CANARY) && text.len() == body.len(),
        "{text}"
    );

    // Across pieces, and in mid-stream.
    let (reply, speaker) = Reply::spoken("text/event-stream");
    rig.push(reply);
    let answer = rig.post("/openai/v1/responses", &key, crate::rig::ask("m")).send();
    let whole = format!("data: {{\"message\":\"{CANARY}\"}}\n\n");
    for piece in whole.as_bytes().chunks(5) {
        speaker.say(piece.to_vec()).await;
    }
    drop(speaker);
    let text = answer.await.unwrap().text().await.unwrap();
    assert!(text.contains("[the API key]") && !text.contains(CANARY), "{text}");

    // Packed, it cannot be blotted out.
    let packed = crate::counted::gzip(body.as_bytes());
    rig.push(Reply::of(401, "application/json", packed).header("content-encoding", "gzip"));
    let ask = rig.post("/openai/v1/responses", &key, crate::rig::ask("m"));
    // Withheld: before the answer has begun, or after.
    if let Ok(answer) = ask.header("accept-encoding", "gzip").send().await {
        assert!(answer.bytes().await.is_err());
    }
    assert!(!rig.stored(CANARY), "not in the traces either");
}
