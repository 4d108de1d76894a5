//! Environments: filled-out configs, unique names, archive and delete.

use serde_json::{Value, json};

use crate::rig::{Rig, id};

#[tokio::test]
async fn configs_come_back_filled_out() {
    let rig = Rig::new().await;
    let nothing =
        json!({"type": "limited", "allowed_hosts": [], "allow_package_managers": false, "allow_mcp_servers": false});
    let none = json!({"type": "packages", "pip": [], "npm": [], "apt": [], "cargo": [], "gem": [], "go": []});
    for (given, served) in [
        (
            Value::Null,
            json!({"type": "cloud", "networking": nothing, "packages": none}),
        ),
        (
            json!({"type": "cloud"}),
            json!({"type": "cloud", "networking": nothing, "packages": none}),
        ),
        (
            json!({"type": "cloud", "image": "python:3.13-slim", "cpu": 1.5, "memory": "512m", "disk": 1 << 30, "idle_timeout": 60}),
            json!({"type": "cloud", "networking": nothing, "packages": none, "image": "python:3.13-slim", "cpu": 1.5,
                "memory": 512 << 20, "disk": 1 << 30, "idle_timeout": 60}),
        ),
        (
            json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.b"]}}),
            json!({"type": "cloud", "packages": none, "networking": {"type": "limited", "allowed_hosts": ["a.b"],
                "allow_package_managers": false, "allow_mcp_servers": false}}),
        ),
        (json!({"type": "self_hosted"}), json!({"type": "self_hosted"})),
        (json!({"type": "local"}), json!({"type": "local"})),
        (
            json!({"type": "local", "dir": "/srv/code"}),
            json!({"type": "local", "dir": "/srv/code"}),
        ),
    ] {
        let name = given.to_string();
        let made = rig
            .post("/v1/environments", &json!({"name": name, "config": given}))
            .await
            .ok();
        assert_eq!(made["config"], served);
        assert_eq!(
            (&made["type"], &made["description"], &made["metadata"]),
            (&json!("environment"), &json!(""), &json!({}))
        );
        assert_eq!(rig.get(&format!("/v1/environments/{}", id(&made))).await.ok(), made);
    }
}

#[tokio::test]
async fn names_are_unique_until_archived() {
    let rig = Rig::new().await;
    let made = rig.post("/v1/environments", &json!({"name": "one"})).await.ok();
    let twice = rig.post("/v1/environments", &json!({"name": "one"})).await;
    assert!(twice.refused(409, "invalid_request_error").contains("name"));
    assert_eq!(twice.header("x-should-retry"), Some("false"));
    let other = rig.post("/v1/environments", &json!({"name": "two"})).await.ok();
    rig.post(&format!("/v1/environments/{}", id(&other)), &json!({"name": "one"}))
        .await
        .refused(409, "invalid_request_error");
    let path = format!("/v1/environments/{}", id(&made));
    let archived = rig.text(&format!("{path}/archive"), "").await.ok();
    assert!(archived["archived_at"].is_string());
    assert_eq!(rig.text(&format!("{path}/archive"), "").await.ok(), archived);
    rig.post("/v1/environments", &json!({"name": "one"})).await.ok();
    let change = rig.post(&path, &json!({"description": "x"})).await;
    change.refused(400, "invalid_request_error");
    assert_eq!(change.json["error"]["details"]["error_code"], "environment_archived");
}

#[tokio::test]
async fn updates_merge_and_keep_the_kind() {
    let rig = Rig::new().await;
    let path = format!("/v1/environments/{}", rig.environment(json!({"type": "local"})).await);
    let next = rig
        .post(
            &path,
            &json!({"description": "mine", "metadata": {"a": "1"}, "config": {"type": "local", "dir": "/x"}}),
        )
        .await
        .ok();
    assert_eq!(
        (&next["description"], &next["config"]["dir"], &next["metadata"]),
        (&json!("mine"), &json!("/x"), &json!({"a": "1"}))
    );
    let next = rig
        .post(
            &path,
            &json!({"description": null, "metadata": {"a": null}, "config": null}),
        )
        .await
        .ok();
    assert_eq!(
        (&next["description"], &next["metadata"], &next["config"]["dir"]),
        (&json!(""), &json!({}), &json!("/x"))
    );
    let other = rig.post(&path, &json!({"config": {"type": "cloud"}})).await;
    other.refused(400, "invalid_request_error");
    assert_eq!(
        other.json["error"]["details"]["error_code"],
        "invalid_config_type_change"
    );
}

#[tokio::test]
async fn deleted_environments_are_gone_but_their_sessions_are_not() {
    let rig = Rig::new().await;
    let environment = rig.environment(json!({"type": "local"})).await;
    let agent = rig.agent().await;
    let session = id(&rig
        .post("/v1/sessions", &json!({"agent": agent, "environment_id": environment}))
        .await
        .ok());
    let path = format!("/v1/environments/{environment}");
    assert_eq!(
        rig.delete(&path).await.ok(),
        json!({"id": environment, "type": "environment_deleted"})
    );
    rig.delete(&path).await.refused(404, "not_found_error");
    rig.get(&path).await.refused(404, "not_found_error");
    assert_eq!(
        rig.get(&format!("/v1/sessions/{session}")).await.ok()["environment_id"],
        json!(environment)
    );
    rig.post("/v1/sessions", &json!({"agent": agent, "environment_id": environment}))
        .await
        .refused(404, "not_found_error");
}

#[tokio::test]
async fn bad_environments_are_refused_by_field() {
    let rig = Rig::new().await;
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a", "scope": "account"}), "scope"),
        (json!({"name": "a", "confgi": {}}), "confgi"),
        (json!({"name": "a", "config": "cloud"}), "config"),
        (
            json!({"name": "a", "config": {"type": "cloud", "image": ""}}),
            "config.image",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "image": "a b"}}),
            "config.image",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "cpu": 0}}),
            "config.cpu",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "cpu": "two"}}),
            "config.cpu",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "memory": "1m"}}),
            "config.memory",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "memory": "512 MB"}}),
            "config.memory",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "memory": "99999999999t"}}),
            "config.memory",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "disk": -1}}),
            "config.disk",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "idle_timeout": 0}}),
            "config.idle_timeout",
        ),
        (json!({"name": "a", "config": {}}), "config.type"),
        (json!({"name": "a", "config": {"type": "moon"}}), "config.type"),
        (
            json!({"name": "a", "config": {"type": "local", "dir": "relative"}}),
            "config.dir",
        ),
        (json!({"name": "a", "config": {"type": "local", "dri": "/x"}}), "dri"),
        (
            json!({"name": "a", "config": {"type": "cloud", "networking": {"type": "some"}}}),
            "config.networking.type",
        ),
        (
            json!({"name": "a", "config": {"type": "cloud", "packages": {"pip": "requests"}}}),
            "config.packages.pip",
        ),
        (json!({"name": "a", "metadata": {"": "x"}}), "metadata"),
    ] {
        let message = rig
            .post("/v1/environments", &body)
            .await
            .refused(400, "invalid_request_error");
        assert!(message.contains(field), "{message} should name {field}");
    }
}
