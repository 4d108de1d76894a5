//! The pool over HTTP: who works, and what it is scaled by.

use perennial_engine::ports::{Standing, WorkerCard};
use perennial_schema::OwnerId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::Rig;

async fn joined(rig: &Rig) -> OwnerId {
    let owner = OwnerId::from_uuid(Uuid::now_v7());
    rig.pool.attend(owner, &card()).await.unwrap();
    owner
}

fn card() -> WorkerCard {
    WorkerCard {
        name: "a host 7".to_owned(),
        version: "1.2.3".to_owned(),
        slots: 4,
        harnesses: vec!["native".to_owned()],
    }
}

#[tokio::test]
async fn a_worker_is_listed_and_steered() {
    let rig = Rig::new().await;
    assert_eq!(rig.get("/v1/workers").await.ok()["data"], json!([]));
    let owner = joined(&rig).await;
    let page = rig.get("/v1/workers").await.ok();
    let worker = &page["data"][0];
    assert_eq!(worker["id"], owner.to_string());
    assert_eq!(
        (
            &worker["name"],
            &worker["state"],
            &worker["slots"],
            &worker["sessions"],
            &worker["harnesses"]
        ),
        (
            &json!("a host 7"),
            &json!("active"),
            &json!(4),
            &json!(0),
            &json!(["native"])
        )
    );
    let path = format!("/v1/workers/{owner}");
    for (wanted, shown, heard) in [
        ("cordoned", "cordoned", Standing::Cordoned),
        ("draining", "drained", Standing::Draining),
        ("active", "active", Standing::Active),
    ] {
        let steered = rig.send_json("PATCH", &path, &json!({"state": wanted})).await.ok();
        assert_eq!(steered["state"], shown);
        assert_eq!(rig.pool.attend(owner, &card()).await.unwrap(), heard);
    }
}

#[tokio::test]
async fn what_is_no_worker_or_no_state_is_refused() {
    let rig = Rig::new().await;
    let owner = joined(&rig).await;
    for id in [
        format!("/v1/workers/{}", OwnerId::from_uuid(Uuid::now_v7())),
        "/v1/workers/7".to_owned(),
    ] {
        assert_eq!(
            rig.send_json("PATCH", &id, &json!({"state": "active"})).await.status,
            404,
            "{id}"
        );
    }
    let path = format!("/v1/workers/{owner}");
    for body in [
        json!({}),
        json!({"state": "drained"}),
        json!({"state": 1}),
        json!({"state": "active", "slots": 9}),
    ] {
        assert_eq!(rig.send_json("PATCH", &path, &body).await.status, 400, "{body}");
    }
    assert_eq!(rig.get("/v1/scaling/other").await.status, 404);
}

#[tokio::test]
async fn one_number_scales_the_pool() {
    let rig = Rig::new().await;
    joined(&rig).await;
    let session = rig.session().await;
    rig.say(&session, "hello").await;
    let scaling = rig.get("/v1/scaling/default").await.ok();
    let numbers = [
        "wanted_slots",
        "wanted_workers",
        "ready_sessions",
        "held_sessions",
        "workers",
        "slots",
    ];
    let shown: Vec<&Value> = numbers.iter().map(|name| &scaling[name]).collect();
    assert_eq!(shown, [1, 1, 1, 0, 1, 4], "{scaling}");
}
