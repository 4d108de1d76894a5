//! Forks: a copy that rests, with nothing left open.

use std::sync::atomic::Ordering;

use perennial_schema::event::{Body, Empty, Permission, Raw, ToolUse};
use serde_json::{Value, json};

use crate::rig::{Rig, id};

async fn log(rig: &Rig, session: &str) -> Vec<Value> {
    rig.get(&format!("/v1/sessions/{session}/log?limit=1000")).await.ok()["data"]
        .as_array()
        .unwrap()
        .clone()
}

fn kinds(log: &[Value]) -> Vec<&str> {
    log.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_running_session_is_forked_and_its_open_calls_are_closed() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let call = Body::AgentToolUse(ToolUse {
        name: "bash".into(),
        input: Raw::of(&json!({"command": "sleep 99"})),
        evaluated_permission: Some(Permission::Allow),
    });
    rig.hold(&claimed, vec![Body::SessionStatusRunning(Empty {}), call], false)
        .await;
    let fork = rig
        .post(&format!("/v1/sessions/{session}/fork"), &json!({"title": "try"}))
        .await
        .ok();
    assert_eq!((&fork["status"], &fork["title"]), (&json!("idle"), &json!("try")));
    assert_eq!(fork["usage"]["input_tokens"], 0);
    assert_eq!(rig.hands.copied.load(Ordering::Relaxed), 1);
    let copy = log(&rig, &id(&fork)).await;
    assert_eq!(
        kinds(&copy),
        [
            "user.message",
            "session.status_running",
            "agent.tool_use",
            "session.forked",
            "agent.tool_result",
            "session.status_idle"
        ]
    );
    let original = log(&rig, &session).await;
    for (copied, source) in copy.iter().zip(&original) {
        assert_eq!(
            (&copied["payload"], &copied["seq"], &copied["turn"]),
            (&source["payload"], &source["seq"], &source["turn"])
        );
    }
    assert_eq!(copy[3]["payload"]["from_session"], json!(session));
    assert_eq!(copy[3]["payload"]["workspace"], "copied");
    assert_eq!(copy[4]["payload"]["is_error"], true);
    assert_eq!(original.len(), 3, "the source is untouched");
    rig.say(&id(&fork), "go on").await;
    assert_eq!(
        rig.get(&format!("/v1/sessions/{}", id(&fork))).await.ok()["status"],
        "running"
    );
}

#[tokio::test]
async fn forks_may_be_cut_anywhere() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    for text in ["a", "b", "c"] {
        rig.say(&session, text).await;
    }
    let path = format!("/v1/sessions/{session}/fork");
    for at_seq in 0..=3 {
        let fork = rig.post(&path, &json!({"at_seq": at_seq})).await.ok();
        let copy = log(&rig, &id(&fork)).await;
        assert_eq!(
            kinds(&copy).iter().filter(|kind| **kind == "user.message").count(),
            at_seq
        );
        assert_eq!(fork["status"], "idle");
    }
    assert_eq!(log(&rig, &id(&rig.text(&path, "").await.ok())).await.len(), 4);
    for (body, field) in [
        (json!({"at_seq": 4}), "at_seq"),
        (json!({"at_seq": -1}), "at_seq"),
        (json!({"at": 1}), "at"),
    ] {
        assert!(
            rig.post(&path, &body)
                .await
                .refused(400, "invalid_request_error")
                .contains(field)
        );
    }
}

#[tokio::test]
async fn what_happens_to_the_folder_is_told() {
    let rig = Rig::new().await;
    for (config, told) in [
        (json!({"type": "local"}), "copied"),
        (json!({"type": "cloud"}), "copied"),
        (json!({"type": "local", "dir": "/srv"}), "shared"),
        (json!({"type": "self_hosted"}), "empty"),
    ] {
        let session = rig.session_in(config).await;
        let fork = rig.text(&format!("/v1/sessions/{session}/fork"), "").await.ok();
        assert_eq!(log(&rig, &id(&fork)).await[0]["payload"]["workspace"], told);
    }
}

#[tokio::test]
async fn a_repeated_fork_leaves_no_folder_behind() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/fork");
    let first = rig.post_with(&path, &json!({}), &[("idempotency-key", "k")]).await.ok();
    assert_eq!(
        rig.post_with(&path, &json!({}), &[("idempotency-key", "k")]).await.ok(),
        first
    );
    assert_eq!(
        (
            rig.hands.copied.load(Ordering::Relaxed),
            rig.hands.forgotten.load(Ordering::Relaxed)
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_fork_may_be_cut_at_an_event_and_go_on_with_another_brain() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    for text in ["one", "two", "three"] {
        rig.say(&session, text).await;
    }
    let second = log(&rig, &session).await[1]["id"].clone();
    let path = format!("/v1/sessions/{session}/fork");
    let body = json!({"at_event": second, "agent": {"model": "gpt-x", "harness": "codex"}});
    let fork = rig.post(&path, &body).await.ok();
    assert_eq!(
        (&fork["agent"]["model"]["id"], &fork["agent"]["harness"]),
        (&json!("gpt-x"), &json!("codex"))
    );
    let copy = log(&rig, &id(&fork)).await;
    assert_eq!(
        kinds(&copy)[..4],
        ["user.message", "user.message", "session.forked", "session.updated"]
    );
    assert_eq!(copy[3]["payload"]["agent"]["harness"], "codex");
    // The source keeps its own.
    let source = rig.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(source["agent"].get("harness"), None);

    for (body, named) in [
        (json!({"at_event": "sevt_1"}), "at_event: "),
        (
            json!({"at_event": id(&fork).replace("sesn_", "sevt_")}),
            "no event sevt_",
        ),
        (json!({"at_event": second, "at_seq": 1}), "at_seq says already"),
        (json!({"at_seq": 99}), "at_seq: 99 is beyond"),
        (
            json!({"agent": {"harness": "emacs"}}),
            "agent.harness: a harness is native",
        ),
        (
            json!({"agent": {"model": null}}),
            "agent.model: a model cannot be cleared",
        ),
        (json!({"agent": 7}), "agent: expected"),
    ] {
        let refused = rig.post(&path, &body).await;
        let message = refused.refused(400, "invalid_request_error");
        assert!(message.contains(named), "{body}: {message}");
    }
}
