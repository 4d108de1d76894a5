//! The pool over HTTP: who works, and what it is scaled by.

use std::sync::Arc;

use perennial_api::Config;
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_api::accounts::{Accounts as _, Secret};
use perennial_broker::bus::local::Local;
use perennial_broker::log::sqlite::{Settings, Sqlite};
use perennial_engine::ports::{Standing, WorkerCard};
use perennial_schema::{OwnerId, Timestamp, WorkspaceId};
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

/// Another workspace's key opens nothing that concerns all of them.
#[tokio::test]
async fn workers_are_the_operators() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path(), Settings::default()).await.unwrap();
    let pool = store.pool_for_accounts();
    let accounts = SqliteAccounts::new(pool.clone());
    let first = accounts
        .ensure_workspace_and_key(None, Timestamp::from_micros(1))
        .await
        .unwrap();
    let tenants = Secret::generate().unwrap();
    let workspace = WorkspaceId::from_uuid(Uuid::now_v7()).to_string();
    sqlx::query("INSERT INTO workspaces (workspace_id, name, created_at) VALUES (?, 'tenant', 2)")
        .bind(&workspace)
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO api_keys (workspace_id, id, name, hash, created_at) VALUES (?, ?, 'tenant', ?, 2)")
        .bind(&workspace)
        .bind(tenants.id.to_string())
        .bind(tenants.hash().0.to_vec())
        .execute(&pool)
        .await
        .unwrap();
    let mut rig = Rig::with(Arc::new(Local::new()), Config::default(), |mut ports| {
        ports.accounts = Arc::new(accounts);
        ports
    })
    .await;
    let owner = joined(&rig).await;
    let steer = format!("/v1/workers/{owner}");
    let body = json!({"state": "draining"});
    rig.key = tenants.expose().to_owned();
    rig.get("/v1/agents").await.ok();
    for answer in [
        rig.get("/v1/workers").await,
        rig.get("/v1/scaling/default").await,
        rig.send_json("PATCH", &steer, &body).await,
    ] {
        let told = answer.refused(403, "permission_error");
        assert!(told.contains("install"), "{told}");
    }
    assert_eq!(rig.pool.attend(owner, &card()).await.unwrap(), Standing::Active);
    rig.key = first.fresh.unwrap().expose().to_owned();
    rig.get("/v1/workers").await.ok();
    rig.send_json("PATCH", &steer, &body).await.ok();
    assert_eq!(rig.pool.attend(owner, &card()).await.unwrap(), Standing::Draining);
}

#[tokio::test]
async fn a_harness_without_workers_is_seen() {
    let rig = Rig::new().await;
    joined(&rig).await;
    let session = rig.session().await;
    rig.say(&session, "hello").await;
    let scaling = rig.get("/v1/scaling/default").await.ok();
    assert_eq!(scaling["over_slots_sessions"], 0);
    let native = &scaling["harnesses"][0];
    assert_eq!(
        (&native["harness"], &native["ready_sessions"]),
        (&json!("native"), &json!(1))
    );
    assert_eq!((&native["held_sessions"], &native["workers"]), (&json!(0), &json!(1)));
    rig.pool
        .steer(rig.pool.workers().await.unwrap()[0].owner, Standing::Cordoned)
        .await
        .unwrap();
    let scaling = rig.get("/v1/scaling/default").await.ok();
    assert_eq!(scaling["harnesses"][0]["workers"], 0);
}
