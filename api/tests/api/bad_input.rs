//! Bad input: a clear 4xx, never a panic, never a 500 (INVARIANTS F30).

use axum::body::Body;
use axum::http::StatusCode;
use perennial_schema::limits::{BODY_BYTES, JSON_DEPTH};
use serde_json::json;

use crate::rig::Rig;

/// Every POST route, with ids that exist.
async fn posts(rig: &Rig) -> Vec<String> {
    let (agent, environment, session) = (
        rig.agent().await,
        rig.environment(json!({"type": "local"})).await,
        rig.session().await,
    );
    vec![
        "/v1/agents".into(),
        format!("/v1/agents/{agent}"),
        "/v1/environments".into(),
        format!("/v1/environments/{environment}"),
        "/v1/sessions".into(),
        format!("/v1/sessions/{session}"),
        format!("/v1/sessions/{session}/events"),
        format!("/v1/sessions/{session}/fork"),
    ]
}

#[tokio::test]
async fn malformed_bodies_are_a_400_on_every_route() {
    let rig = Rig::new().await;
    let deep = |n: usize| format!("{{\"events\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let nested = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"nope".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"null".to_vec(),
        b"7".to_vec(),
        b"{} {}".to_vec(),
        b"{\"name\":\"\xff\xfe\"}".to_vec(),
        b"{\"name\":\"a\0b\"}".to_vec(),
        br#"{"name":"a\u0000b"}"#.to_vec(),
        br#"{"name":"\ud800"}"#.to_vec(),
        br#"{"name":"\udc00 alone"}"#.to_vec(),
        br#"{"name":"a","name":"b"}"#.to_vec(),
        br#"{"name":1e999999,"title":1e999999,"events":1e999999,"at_seq":1e999999}"#.to_vec(),
        br#"{"at_seq":123456789012345678901234567890,"name":[],"title":[],"events":7}"#.to_vec(),
        b"[".repeat(1_000_000),
        deep(10_000).into_bytes(),
        deep(JSON_DEPTH).into_bytes(),
        nested.into_bytes(),
    ];
    for path in posts(&rig).await {
        for body in &bodies {
            let answer = rig.text(&path, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {shown} {}", answer.json);
            answer.refused(400, "invalid_request_error");
        }
    }
}

#[tokio::test]
async fn depth_and_nul_are_named() {
    let rig = Rig::new().await;
    let refused = rig
        .text("/v1/agents", "[".repeat(200))
        .await
        .refused(400, "invalid_request_error");
    assert!(refused.contains("128"), "{refused}");
    let refused = rig
        .text("/v1/agents", r#"{"name":"\u0000"}"#)
        .await
        .refused(400, "invalid_request_error");
    assert!(refused.contains("NUL"), "{refused}");
}

#[tokio::test]
async fn big_bodies_are_a_413() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let wrap = |size: usize| {
        format!(
            "{{\"events\":[{{\"type\":\"user.message\",\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}]}}]}}",
            "x".repeat(size)
        )
    };
    rig.text(&path, wrap(BODY_BYTES - 1000)).await.ok();
    rig.text(&path, wrap(BODY_BYTES))
        .await
        .refused(413, "invalid_request_error");
    // Declared too large: refused before a byte is read.
    let declared = rig.request("POST", &path).header("content-length", "99999999999");
    rig.send(declared.body(Body::empty()).unwrap())
        .await
        .refused(413, "invalid_request_error");
    // Undeclared: cut off on the way.
    let pieces = futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024])));
    let streamed = rig.request("POST", &path).body(Body::from_stream(pieces)).unwrap();
    rig.send(streamed).await.refused(413, "invalid_request_error");
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let rig = Rig::new().await;
    for encoding in ["gzip", "br", "gzip, gzip", "zstd"] {
        let answer = rig
            .post_with("/v1/agents", &json!({}), &[("content-encoding", encoding)])
            .await;
        answer.refused(400, "invalid_request_error");
        assert_eq!(
            answer.json["error"]["details"]["error_code"],
            "request_body_encoding_unsupported"
        );
    }
    let plain = json!({"name": "a", "model": "m"});
    rig.post_with("/v1/agents", &plain, &[("content-encoding", "identity")])
        .await
        .ok();
}

#[tokio::test]
async fn unknown_ids_routes_and_methods_have_their_own_answers() {
    let rig = Rig::new().await;
    let long = "x".repeat(2000);
    for id in [
        "nope",
        "sesn_1",
        "sesn_00000000000000000000000000000000",
        "agent_00000000000000000000000000000000",
        "%00",
        "%ff",
        "..",
        "💥",
        &long,
    ] {
        let id: String = if id.is_ascii() {
            id.into()
        } else {
            "%F0%9F%92%A5".into()
        };
        for path in [
            format!("/v1/agents/{id}"),
            format!("/v1/agents/{id}/versions"),
            format!("/v1/environments/{id}"),
            format!("/v1/sessions/{id}"),
            format!("/v1/sessions/{id}/events"),
            format!("/v1/sessions/{id}/events/stream"),
            format!("/v1/sessions/{id}/log"),
        ] {
            let answer = rig.get(&path).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{path} {}", answer.json);
            assert_eq!(answer.json["type"], "error", "{path}");
            assert!(
                answer.json.to_string().len() < 2000,
                "what was given is not echoed whole"
            );
        }
        for path in [
            format!("/v1/agents/{id}/archive"),
            format!("/v1/sessions/{id}/retry"),
            format!("/v1/sessions/{id}/archive"),
        ] {
            let answer = rig.text(&path, "").await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{path} {}", answer.json);
        }
    }
    rig.get("/v1/nothing").await.refused(404, "not_found_error");
    rig.get("/").await.refused(404, "not_found_error");
    let put = rig.request("PUT", "/v1/agents").body(Body::empty()).unwrap();
    rig.send(put).await.refused(405, "invalid_request_error");
}

#[tokio::test]
async fn bodyless_posts_may_be_empty_or_braces() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    for body in ["", "  ", "{}"] {
        rig.text(&format!("/v1/sessions/{session}/fork"), body).await.ok();
    }
    rig.text(&format!("/v1/sessions/{session}/archive"), "").await.ok();
}
