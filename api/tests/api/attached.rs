//! Executors attached to sessions: by whom, to what, and when not.

use perennial_engine::ports::{ExecutorKind, Executors as _, NewExecutor};
use perennial_schema::event::{Body, Empty};
use perennial_schema::{ExecutorId, ExecutorToken, WorkspaceId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Rig, id};

async fn executor(rig: &Rig, workspace: WorkspaceId, name: &str, kind: ExecutorKind) -> String {
    let minted = rig.executors.mint_code(workspace, Uuid::now_v7()).await.unwrap();
    let token = ExecutorToken::new(ExecutorId::from_uuid(Uuid::now_v7()), [1; 32]);
    let new = NewExecutor {
        id: token.id,
        name: name.to_owned(),
        kind,
        hash: token.hash(),
    };
    let made = rig.executors.register(minted.code.hash(), new).await.unwrap();
    made.id.to_string()
}

pub(crate) async fn device(rig: &Rig, name: &str) -> String {
    executor(rig, rig.workspace, name, ExecutorKind::Device).await
}

fn attached(session: &Value) -> Value {
    session["agent"].get("executors").cloned().unwrap_or(json!([]))
}

#[tokio::test]
async fn executors_are_attached_and_detached() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/executors");
    let (laptop, desk) = (device(&rig, "laptop").await, device(&rig, "desk").await);
    assert_eq!(
        attached(&rig.get(&format!("/v1/sessions/{session}")).await.ok()),
        json!([])
    );
    let one = rig
        .post(&path, &json!({"executor_id": laptop, "dir": "/srv"}))
        .await
        .ok();
    assert_eq!(
        attached(&one),
        json!([{"executor_id": laptop, "name": "laptop", "dir": "/srv"}])
    );
    rig.post(&path, &json!({"executor_id": desk})).await.ok();
    // Again is a change, in its place; and its name stays what it is called here.
    rig.send_json("PATCH", &format!("/v1/executors/{laptop}"), &json!({"name": "other"}))
        .await
        .ok();
    let again = rig
        .post(&path, &json!({"executor_id": laptop, "name": "mine"}))
        .await
        .ok();
    assert_eq!(
        attached(&again),
        json!([{"executor_id": laptop, "name": "mine"}, {"executor_id": desk, "name": "desk"}])
    );
    let left = rig.delete(&format!("{path}/{laptop}")).await.ok();
    assert_eq!(attached(&left), json!([{"executor_id": desk, "name": "desk"}]));
    rig.delete(&format!("{path}/{laptop}"))
        .await
        .refused(404, "not_found_error");
    let log = rig.get(&format!("/v1/sessions/{session}/events?limit=100")).await.ok();
    let told = log["data"].as_array().unwrap().iter();
    assert_eq!(told.filter(|event| event["type"] == "session.updated").count(), 4);
}

#[tokio::test]
async fn what_cannot_be_attached_says_why() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/executors");
    let laptop = device(&rig, "laptop").await;
    // S1: that of another workspace is as unknown as one that is not there.
    let foreign = executor(
        &rig,
        WorkspaceId::from_uuid(Uuid::now_v7()),
        "theirs",
        ExecutorKind::Device,
    )
    .await;
    for unknown in [foreign.as_str(), "exec_00000000000000000000000000000001", "laptop", ""] {
        rig.post(&path, &json!({"executor_id": unknown}))
            .await
            .refused(404, "not_found_error");
        rig.delete(&format!("{path}/{}", if unknown.is_empty() { "x" } else { unknown }))
            .await
            .refused(404, "not_found_error");
    }
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let body = json!({"agent": agent, "environment_id": environment, "executors": [{"executor_id": foreign}]});
    rig.post("/v1/sessions", &body).await.refused(404, "not_found_error");
    let body = json!({"name": "x", "model": "m", "executors": [{"executor_id": foreign}]});
    rig.post("/v1/agents", &body).await.refused(404, "not_found_error");
    let body = json!({"name": "x", "config": {"type": "cloud", "executors": [{"executor_id": foreign}]}});
    rig.post("/v1/environments", &body)
        .await
        .refused(404, "not_found_error");
    let sandbox = executor(&rig, rig.workspace, "sandbox of x", ExecutorKind::Sandbox).await;
    for (body, field) in [
        (json!({"executor_id": sandbox}), "executor_id"),
        (json!({"executor_id": laptop, "dir": "srv"}), "dir"),
        (json!({"executor_id": laptop, "name": ""}), "name"),
        (json!({"executor_id": laptop, "name": "sandbox"}), "name"),
        (json!({"executor_id": laptop, "name": "server"}), "name"),
        (json!({"executor_id": laptop, "name": "a\nb"}), "name"),
        (json!({"executor_id": laptop, "name": "x".repeat(257)}), "name"),
        (json!({"executor_id": laptop, "more": 1}), "more"),
        (json!({"name": "laptop"}), "executor_id"),
    ] {
        let refused = rig.post(&path, &body).await;
        let told = refused.refused(400, "invalid_request_error");
        assert!(told.contains(field), "{body}: {told}");
    }
    rig.post(&path, &json!({"executor_id": laptop})).await.ok();
    let twin = device(&rig, "laptop").await;
    let refused = rig.post(&path, &json!({"executor_id": twin})).await;
    assert!(refused.refused(400, "invalid_request_error").contains("name"));
    for n in 0..7 {
        let next = device(&rig, &format!("n{n}")).await;
        rig.post(&path, &json!({"executor_id": next})).await.ok();
    }
    let refused = rig.post(&path, &json!({"executor_id": twin, "name": "ninth"})).await;
    assert!(refused.refused(400, "invalid_request_error").contains("at most 8"));
    // Where the environment is that machine already, and where somebody else runs the tools.
    let own = rig.session_in(json!({"type": "local", "executor_id": laptop})).await;
    rig.post(
        &format!("/v1/sessions/{own}/executors"),
        &json!({"executor_id": laptop}),
    )
    .await
    .refused(409, "invalid_request_error");
    let hosted = rig.session_in(json!({"type": "self_hosted"})).await;
    rig.post(
        &format!("/v1/sessions/{hosted}/executors"),
        &json!({"executor_id": laptop}),
    )
    .await
    .refused(400, "invalid_request_error");
}

/// What its turns run by does not change under a turn.
#[tokio::test]
async fn a_running_session_keeps_its_hands() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/executors");
    let laptop = device(&rig, "laptop").await;
    rig.say(&session, "work").await;
    rig.post(&path, &json!({"executor_id": laptop}))
        .await
        .refused(400, "invalid_request_error");
    let claimed = rig.claim().await;
    rig.hold(&claimed, vec![Body::SessionStatusRunning(Empty {})], false)
        .await;
    rig.post(&path, &json!({"executor_id": laptop}))
        .await
        .refused(400, "invalid_request_error");
}

#[tokio::test]
async fn agents_and_environments_bring_executors_along() {
    let rig = Rig::new().await;
    let (laptop, desk, third) = (
        device(&rig, "laptop").await,
        device(&rig, "desk").await,
        device(&rig, "laptop").await,
    );
    let body = json!({"name": "a", "model": "rehearsal-1", "executors": [{"executor_id": laptop, "dir": "/a"}]});
    let agent = rig.post("/v1/agents", &body).await.ok();
    assert_eq!(
        agent["executors"],
        json!([{"executor_id": laptop, "name": "laptop", "dir": "/a"}])
    );
    // The second laptop is called like the first: the agent's is meant.
    let config = json!({"type": "cloud", "executors": [{"executor_id": third}, {"executor_id": desk}]});
    let environment = rig
        .post("/v1/environments", &json!({"name": "e", "config": config}))
        .await;
    assert_eq!(environment.status, 200, "{}", environment.json);
    let environment = environment.ok();
    assert_eq!(environment["config"]["executors"][1]["name"], "desk");
    let new = json!({"agent": id(&agent), "environment_id": id(&environment)});
    let session = rig.post("/v1/sessions", &new).await.ok();
    assert_eq!(
        attached(&session),
        json!([{"executor_id": laptop, "name": "laptop", "dir": "/a"}, {"executor_id": desk, "name": "desk"}])
    );
    // Said, it is what was said; a fork has the same, whatever its brain.
    let mut said = new.clone();
    said["executors"] = json!([]);
    let bare = rig.post("/v1/sessions", &said).await.ok();
    assert_eq!(attached(&bare), json!([]));
    let other = rig.agent().await;
    let path = format!("/v1/sessions/{}/fork", id(&session));
    let fork = rig.post(&path, &json!({"agent": other})).await.ok();
    assert_eq!(attached(&fork), attached(&session));
    // And an agent's next version may have none.
    let path = format!("/v1/agents/{}", id(&agent));
    let next = rig.post(&path, &json!({"executors": null})).await.ok();
    assert!(next.get("executors").is_none() && next["version"] == 2, "{next}");
    let hosted = rig.environment(json!({"type": "self_hosted"})).await;
    let first = json!({"type": "agent", "id": id(&agent), "version": 1});
    let session = rig
        .post("/v1/sessions", &json!({"agent": first, "environment_id": hosted}))
        .await
        .ok();
    assert_eq!(attached(&session), json!([]));
    let own = json!({"agent": other, "environment_id": hosted, "executors": [{"executor_id": desk}]});
    rig.post("/v1/sessions", &own)
        .await
        .refused(400, "invalid_request_error");
}

/// Of attachments at one time none is lost.
#[tokio::test]
async fn who_attaches_at_the_same_time_attaches_both() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/executors");
    let (one, two) = (device(&rig, "one").await, device(&rig, "two").await);
    let (first, second) = (json!({"executor_id": one}), json!({"executor_id": two}));
    let (first, second) = tokio::join!(rig.post(&path, &first), rig.post(&path, &second));
    first.ok();
    second.ok();
    let now = rig.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(attached(&now).as_array().unwrap().len(), 2);
}

/// Who changes how a session runs keeps what is attached to it meanwhile, and the other way round.
#[tokio::test]
async fn who_changes_a_session_while_another_attaches_loses_nothing() {
    let rig = Rig::new().await;
    for n in 0..20 {
        let session = rig.session().await;
        let path = format!("/v1/sessions/{session}");
        let one = device(&rig, &format!("one-{n}")).await;
        let (attach, change) = (json!({"executor_id": one}), json!({"agent": {"system": "Be brief."}}));
        let executors = format!("{path}/executors");
        let (first, second) = match n % 2 {
            0 => tokio::join!(rig.post(&executors, &attach), rig.post(&path, &change)),
            _ => tokio::join!(rig.post(&path, &change), rig.post(&executors, &attach)),
        };
        first.ok();
        second.ok();
        let now = rig.get(&path).await.ok();
        assert_eq!(attached(&now).as_array().unwrap().len(), 1, "{now}");
        assert_eq!(now["agent"]["system"], "Be brief.", "{now}");
    }
}
