//! Sessions: create with every form of agent, change, archive, delete.

use perennial_schema::event::{Body, Empty, Idle};
use perennial_schema::session::StopReason;
use serde_json::{Value, json};

use crate::rig::{Rig, id, message};

#[tokio::test]
async fn a_session_shows_every_field_strict_clients_need() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let served = rig.get(&format!("/v1/sessions/{session}")).await.ok();
    for (field, value) in [
        ("type", json!("session")),
        ("status", json!("idle")),
        ("title", Value::Null),
        ("resources", json!([])),
        ("vault_ids", json!([])),
        ("metadata", json!({})),
        ("outcome_evaluations", json!([])),
        ("archived_at", Value::Null),
        ("budget", Value::Null),
        ("deployment_id", Value::Null),
    ] {
        assert_eq!(served[field], value, "{field}");
    }
    assert_eq!(served["usage"]["cache_creation"]["ephemeral_1h_input_tokens"], 0);
    assert!(served["stats"]["duration_seconds"].is_number());
    assert_eq!(served["agent"]["type"], "agent");
    assert_eq!(served["agent"]["execution_identity"]["type"], "service_account");
    assert!(served.get("perennial").is_none());
    let extended = rig
        .get(&format!("/v1/sessions/{session}?include=extensions"))
        .await
        .ok();
    assert_eq!(
        extended["perennial"],
        json!({"stop_reason": null, "turn": 0, "head": 0, "quarantined": false, "attempts": 0})
    );
}

#[tokio::test]
async fn the_last_event_is_told_with_the_session() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "look  at\n<b>it</b>").await;
    for path in [format!("/v1/sessions/{session}"), "/v1/sessions".to_owned()] {
        let plain = rig.get(&path).await.ok();
        assert!(!plain.to_string().contains("last_event"), "{plain}");
        let served = rig.get(&format!("{path}?include=extensions")).await.ok();
        let served = served.get("data").map_or(&served, |data| &data[0]);
        assert_eq!(
            served["perennial"]["last_event"],
            json!({"type": "user.message", "text": "look at <b>it</b>"})
        );
    }
}

#[tokio::test]
async fn agents_may_be_given_in_three_forms() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    rig.post(&format!("/v1/agents/{agent}"), &json!({"system": "two"}))
        .await
        .ok();
    let create = async |agent: Value| {
        rig.post("/v1/sessions", &json!({"agent": agent, "environment_id": environment}))
            .await
    };
    assert_eq!(create(json!(agent)).await.ok()["agent"]["version"], 2);
    let first = create(json!({"type": "agent", "id": agent, "version": 1})).await.ok();
    assert_eq!(
        (&first["agent"]["version"], &first["agent"]["system"]),
        (&json!(1), &Value::Null)
    );
    let over = json!({"type": "agent_with_overrides", "id": agent, "model": "claude-x", "system": null, "tools": []});
    let over = create(over).await.ok();
    assert_eq!(
        (
            &over["agent"]["model"],
            &over["agent"]["system"],
            &over["agent"]["tools"]
        ),
        (&json!({"id": "claude-x"}), &Value::Null, &json!([]))
    );
    let inherits = create(json!({"type": "agent_with_overrides", "id": agent})).await.ok();
    assert_eq!(inherits["agent"]["system"], "two");
    let misplaced = create(json!({"type": "agent", "id": agent, "system": "x"})).await;
    assert!(misplaced.refused(400, "invalid_request_error").contains("agent.system"));
    create(json!({"type": "agent", "id": agent, "version": 9}))
        .await
        .refused(404, "not_found_error");
}

#[tokio::test]
async fn initial_events_start_the_session_at_once() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let mut body = json!({"agent": agent, "environment_id": environment, "title": "t", "metadata": {"k": "v"}});
    body["initial_events"] = message("go")["events"].clone();
    let session = rig.post("/v1/sessions", &body).await.ok();
    assert_eq!(
        (&session["status"], &session["title"], &session["metadata"]),
        (&json!("running"), &json!("t"), &json!({"k": "v"}))
    );
    let events = rig.get(&format!("/v1/sessions/{}/events", id(&session))).await.ok();
    assert_eq!(events["data"][0]["content"][0]["text"], "go");
    body["initial_events"] = json!([{"type": "user.interrupt"}]);
    let refused = rig
        .post("/v1/sessions", &body)
        .await
        .refused(400, "invalid_request_error");
    assert!(refused.contains("initial_events[0].type"), "{refused}");
}

#[tokio::test]
async fn updates_are_events_and_clear_with_null() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}");
    let next = rig
        .post(&path, &json!({"title": "one", "metadata": {"a": "1", "b": "2"}}))
        .await
        .ok();
    assert_eq!(
        (&next["title"], &next["metadata"]),
        (&json!("one"), &json!({"a": "1", "b": "2"}))
    );
    let next = rig
        .post(&path, &json!({"title": null, "metadata": {"a": null}}))
        .await
        .ok();
    assert_eq!((&next["title"], &next["metadata"]), (&Value::Null, &json!({"b": "2"})));
    let next = rig.post(&path, &json!({"agent": {"tools": []}})).await.ok();
    assert_eq!(next["agent"]["tools"], json!([]));
    rig.post(&path, &json!({"metadata": {"b": "2"}})).await.ok();
    let events = rig.get(&format!("{path}/events")).await.ok();
    let kinds: Vec<&str> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["session.updated"; 3], "what changes nothing is no event");
    assert_eq!(events["data"][0]["title"], "one");
    assert_eq!(events["data"][2]["agent"]["tools"], json!([]));
    // While running, tools stay; titles may change.
    rig.say(&session, "work").await;
    rig.post(&path, &json!({"title": "busy"})).await.ok();
    let refused = rig
        .post(
            &path,
            &json!({"agent": {"tools": [{"type": "agent_toolset_20260401"}]}}),
        )
        .await;
    assert!(refused.refused(400, "invalid_request_error").contains("running"));
}

#[tokio::test]
async fn model_harness_and_prompt_change_between_turns_only() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}");
    let switch = json!({"agent": {"model": "gpt-x", "harness": "acp:goose", "system": "be brief"}});
    let switched = rig.post(&path, &switch).await.ok();
    let agent = &switched["agent"];
    assert_eq!(
        (&agent["model"]["id"], &agent["harness"], &agent["system"]),
        (&json!("gpt-x"), &json!("acp:goose"), &json!("be brief"))
    );
    let log = rig.get(&format!("{path}/log")).await.ok();
    let told = log["data"].as_array().unwrap().last().unwrap();
    assert_eq!(told["payload"]["agent"]["harness"], "acp:goose");
    // Null is the native loop, and clears a prompt.
    let back = rig
        .post(&path, &json!({"agent": {"harness": null, "system": null}}))
        .await
        .ok();
    assert_eq!(
        (back["agent"].get("harness"), &back["agent"]["system"]),
        (None, &Value::Null)
    );
    let refused = rig.post(&path, &json!({"agent": {"harness": "acp:"}})).await;
    assert!(refused.refused(400, "invalid_request_error").contains("acp:NAME"));
    rig.say(&session, "work").await;
    let refused = rig.post(&path, &json!({"agent": {"harness": "codex"}})).await;
    assert!(refused.refused(400, "invalid_request_error").contains("running"));
}

#[tokio::test]
async fn running_sessions_are_neither_archived_nor_deleted() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}");
    rig.say(&session, "work").await;
    rig.text(&format!("{path}/archive"), "")
        .await
        .refused(400, "invalid_request_error");
    rig.delete(&path).await.refused(400, "invalid_request_error");
    let claimed = rig.claim().await;
    rig.hold(&claimed, vec![Body::SessionStatusRunning(Empty {})], false)
        .await;
    assert_eq!(rig.get(&path).await.ok()["status"], "running");
    rig.delete(&path).await.refused(400, "invalid_request_error");
    let idle = Body::SessionStatusIdle(Idle {
        stop_reason: StopReason::EndTurn,
    });
    rig.hold(&claimed, vec![idle], true).await;
    let archived = rig.text(&format!("{path}/archive"), "").await.ok();
    assert_eq!(archived["status"], "terminated");
    assert!(archived["archived_at"].is_string());
    rig.text(&format!("{path}/archive"), "").await.ok();
    let sent = rig.post(&format!("{path}/events"), &message("more")).await;
    sent.refused(409, "invalid_request_error");
    assert_eq!(sent.header("x-should-retry"), Some("false"));
    assert_eq!(
        rig.delete(&path).await.ok(),
        json!({"id": session, "type": "session_deleted"})
    );
    assert_eq!(rig.hands.forgotten.load(std::sync::atomic::Ordering::Relaxed), 1);
    for answer in [
        rig.get(&path).await,
        rig.delete(&path).await,
        rig.get(&format!("{path}/events")).await,
        rig.get(&format!("{path}/events/stream")).await,
        rig.get(&format!("{path}/log")).await,
        rig.post(&format!("{path}/events"), &message("x")).await,
        rig.text(&format!("{path}/fork"), "").await,
        rig.text(&format!("{path}/retry"), "").await,
        rig.post(&path, &json!({"title": "x"})).await,
    ] {
        answer.refused(404, "not_found_error");
    }
}

#[tokio::test]
async fn retry_needs_a_quarantine() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let refused = rig.text(&format!("/v1/sessions/{session}/retry"), "").await;
    refused.refused(409, "invalid_request_error");
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    quarantine(&rig, &claimed).await;
    let path = format!("/v1/sessions/{session}?include=extensions");
    assert_eq!(rig.get(&path).await.ok()["perennial"]["quarantined"], true);
    rig.say(&session, "stored, but does not start it").await;
    assert_eq!(rig.get(&path).await.ok()["status"], "idle");
    let retried = rig.text(&format!("/v1/sessions/{session}/retry"), "").await.ok();
    assert_eq!(retried["status"], "running");
    assert_eq!(rig.get(&path).await.ok()["perennial"]["quarantined"], false);
}

pub(crate) async fn quarantine(rig: &Rig, claimed: &perennial_engine::ports::Claimed) {
    use perennial_engine::ports::{Append, Authority, Ids as _, Log as _, Projection};
    let now = perennial_schema::Timestamp::from_micros(1);
    let events = perennial_engine::kernel::quarantine("poison".into(), now, &crate::rig::Fresh);
    let projection = Projection {
        quarantined: Some(true),
        ..Projection::of(&events)
    };
    let append = Append {
        key: claimed.row.key,
        append_id: crate::rig::Fresh.append(),
        events,
        authority: Authority::Holder {
            epoch: claimed.row.epoch,
            only_at_head: None,
            release: true,
        },
        projection,
    };
    rig.store.append(append).await.unwrap();
}

#[tokio::test]
async fn bad_sessions_are_refused_by_field() {
    let rig = Rig::new().await;
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let ok = json!({"agent": agent, "environment_id": environment});
    let with = |key: &str, value: Value| {
        let mut body = ok.clone();
        body[key] = value;
        body
    };
    for (body, field) in [
        (json!({"environment_id": environment}), "agent"),
        (json!({"agent": agent}), "environment_id"),
        (with("agent", json!("agent_nope")), "agent.id"),
        (with("agent", json!(7)), "agent"),
        (with("agent", json!({"id": agent})), "agent.type"),
        (
            with(
                "agent",
                json!({"type": "agent_with_overrides", "id": agent, "model": null}),
            ),
            "agent.model",
        ),
        (with("environment_id", json!("env_1")), "environment_id"),
        (with("title", json!("x".repeat(257))), "title"),
        (with("budget", json!({"type": "limit"})), "budget"),
        (
            with(
                "budget",
                json!({"type": "limit", "max_list_cost": {"amount": "25.00", "currency": "USD"}}),
            ),
            "budget.max_list_cost.amount",
        ),
        (
            with(
                "budget",
                json!({"type": "limit", "max_list_cost": {"amount": "2500", "currency": "EUR"}}),
            ),
            "budget.max_list_cost.currency",
        ),
        (
            with("resources", json!([{"type": "file", "file_id": "x"}])),
            "resources",
        ),
        (with("vault_ids", json!(["vlt_x"])), "vault_ids"),
        (with("titel", json!("x")), "titel"),
        (
            with("initial_events", json!([{"type": "user.interrupt"}])),
            "initial_events[0].type",
        ),
        (
            with("initial_events", json!([{"type": "user.message", "content": []}])),
            "initial_events[0].content",
        ),
    ] {
        let message = rig
            .post("/v1/sessions", &body)
            .await
            .refused(400, "invalid_request_error");
        assert!(message.contains(field), "{message} should name {field}");
    }
    let unknown = "agent_00000000000000000000000000000000";
    rig.post("/v1/sessions", &with("agent", json!(unknown)))
        .await
        .refused(404, "not_found_error");
    let unknown = "env_00000000000000000000000000000000";
    rig.post("/v1/sessions", &with("environment_id", json!(unknown)))
        .await
        .refused(404, "not_found_error");
    assert_eq!(
        rig.get("/v1/sessions").await.ok()["data"],
        json!([]),
        "nothing was made on the way"
    );
}
