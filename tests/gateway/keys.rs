//! Who is let in, and to what.

use std::time::Duration;

use perennial_engine::ports::{GatewayKeyKind, Metering as _};

use crate::rig::{Rig, ask};

async fn status(rig: &Rig, path: &str, key: &str, model: &str) -> u16 {
    let answer = rig.post(path, key, ask(model)).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn keys_open_in_both_ways_and_only_good_ones() {
    let rig = Rig::new().await;
    let key = rig.key().await;
    let url = format!("{}/v1/messages", rig.base);
    let plain = rig
        .http
        .post(&url)
        .header("x-api-key", &key)
        .body(ask("m"))
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 200);
    let none = rig.http.post(&url).body(ask("m")).send().await.unwrap();
    assert_eq!(none.status(), 401);
    let mut wrong = key.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    for key in [wrong.as_str(), "vk_", "pk_0", "sk-ant-123", "", &"x".repeat(5000)] {
        let answer = rig.post("/v1/messages", key, ask("m")).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{key}");
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["type"], "authentication_error");
    }
    assert_eq!(rig.received().len(), 1);
    assert!(!rig.stored(&key), "only its hash is kept");
}

#[tokio::test]
async fn a_key_ends_by_time_or_by_hand() {
    let rig = Rig::new().await;
    let (_, short) = rig.mint(|new| new.ttl_millis = Some(150)).await;
    assert_eq!(status(&rig, "/v1/messages", &short, "m").await, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        status(&rig, "/v1/messages", &short, "m").await,
        401,
        "also while it is remembered"
    );

    // Of a turn: at once, whoever revokes it.
    let (id, turn) = rig.mint(|new| new.kind = GatewayKeyKind::Turn).await;
    assert_eq!(status(&rig, "/v1/messages", &turn, "m").await, 200);
    rig.meter.revoke(rig.workspace, id).await.unwrap();
    assert_eq!(status(&rig, "/v1/messages", &turn, "m").await, 401);

    // Of a workspace: at once where it is revoked, within seconds elsewhere.
    let (id, key) = rig.mint(|_| {}).await;
    assert_eq!(status(&rig, "/v1/messages", &key, "m").await, 200);
    rig.meter.revoke(rig.workspace, id).await.unwrap();
    rig.gateway.forget(id);
    assert_eq!(status(&rig, "/v1/messages", &key, "m").await, 401);
    let (id, key) = rig.mint(|_| {}).await;
    assert_eq!(status(&rig, "/v1/messages", &key, "m").await, 200);
    rig.meter.revoke(rig.workspace, id).await.unwrap();
    tokio::time::sleep(perennial_gateway::limits::KEY_CACHE + Duration::from_millis(100)).await;
    assert_eq!(status(&rig, "/v1/messages", &key, "m").await, 401);
}

#[tokio::test]
async fn a_key_is_good_for_its_models_and_providers() {
    let rig = Rig::new().await;
    let (_, key) = rig
        .mint(|new| {
            new.models = Some(vec!["m1".into(), "openai/m2".into()]);
            new.providers = Some(vec!["anthropic".into(), "openai".into()]);
        })
        .await;
    for (path, model, expected) in [
        ("/v1/messages", "m1", 200),
        ("/v1/messages", "m2", 403),
        ("/openai/v1/responses", "m2", 200),
        ("/openai/v1/responses", "m3", 403),
        ("/local/v1/chat/completions", "m1", 403),
    ] {
        assert_eq!(status(&rig, path, &key, model).await, expected, "{path} {model}");
    }
    // What another parser could read otherwise is not let through.
    for body in [
        r#"{"model":"m1","model":"m9"}"#,
        r#"{"model":"m1","Model":"m9"}"#,
        r#"{"model":"m1","mod\u0065l":"m9"}"#,
        r#"{"model":["m1"]}"#,
    ] {
        let answer = rig.post("/v1/messages", &key, body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    let others = r#"{"model":"m1","models":["m9"]}"#;
    let answer = rig
        .post("/openai/v1/chat/completions", &key, others)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403, "a list of fallbacks is a way around");
    // And a provider's own list holds for everybody.
    let all = rig.key().await;
    assert_eq!(
        status(&rig, "/listed/v1/chat/completions", &all, "allowed-1").await,
        200
    );
    assert_eq!(status(&rig, "/listed/v1/chat/completions", &all, "other").await, 403);
    assert_eq!(rig.received().len(), 3);
}
