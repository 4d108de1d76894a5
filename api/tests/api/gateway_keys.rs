//! Virtual keys: their secret is shown once.

use perennial_schema::VirtualKey;
use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn a_key_is_made_listed_and_revoked() {
    let rig = Rig::new().await;
    let body = json!({"name": "ci", "models": ["claude-x"], "providers": ["anthropic"], "expires_in_seconds": 3600});
    let made = rig.post("/v1/gateway_keys", &body).await.ok();
    let secret: VirtualKey = made["secret"].as_str().unwrap().parse().unwrap();
    let stored = rig.metering.key(secret.id).await.unwrap().unwrap();
    assert!(stored.hash.matches(&secret) && stored.workspace == rig.workspace);
    assert_eq!(stored.models, Some(vec!["claude-x".into()]));

    let path = format!("/v1/gateway_keys/{}", made["id"].as_str().unwrap());
    let shown = rig.get(&path).await.ok();
    assert_eq!((&shown["secret"], &shown["kind"]), (&Value::Null, &json!("workspace")));
    assert!(
        !rig.get("/v1/gateway_keys")
            .await
            .json
            .to_string()
            .contains(secret.expose())
    );

    rig.delete(&path).await.ok();
    assert!(!rig.get(&path).await.ok()["revoked_at"].is_null());
    rig.delete(&path).await.ok();
}

#[tokio::test]
async fn a_repeated_creation_finds_the_key_and_shows_no_secret() {
    let rig = Rig::new().await;
    let key = [("idempotency-key", "once")];
    let first = rig
        .post_with("/v1/gateway_keys", &json!({"name": "a"}), &key)
        .await
        .ok();
    let second = rig
        .post_with("/v1/gateway_keys", &json!({"name": "a"}), &key)
        .await
        .ok();
    assert_eq!(first["id"], second["id"]);
    assert!(first["secret"].is_string() && second["secret"].is_null());
    let other = rig.post_with("/v1/gateway_keys", &json!({"name": "b"}), &key).await;
    other.refused(422, "invalid_request_error");
    let listed = rig.get("/v1/gateway_keys").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_keys_are_refused_by_field() {
    let rig = Rig::new().await;
    for (body, field) in [
        (json!({"kind": "turn"}), "kind"),
        (json!({"kind": "session"}), "session_id"),
        (json!({"session_id": "sesn_1"}), "session_id"),
        (
            json!({"session_id": "sesn_00000000000000000000000000000007"}),
            "session_id",
        ),
        (json!({"agent_id": "a"}), "agent_id"),
        (json!({"expires_in_seconds": 0}), "expires_in_seconds"),
        (json!({"models": [""]}), "models"),
        (json!({"secret": "vk_x"}), "secret"),
    ] {
        let message = rig
            .post("/v1/gateway_keys", &body)
            .await
            .refused(400, "invalid_request_error");
        assert!(message.contains(field), "{body}: {message}");
    }
    rig.get("/v1/gateway_keys/vkey_00000000000000000000000000000007")
        .await
        .refused(404, "not_found_error");
    rig.delete("/v1/gateway_keys/nonsense")
        .await
        .refused(404, "not_found_error");
}
