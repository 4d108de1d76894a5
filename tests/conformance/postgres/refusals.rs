//! Servers, schemas and statements that are refused.

use perennial_broker::log::postgres::{OpenError, Postgres, Settings, drop_schema, migrate};
use perennial_engine::ports::{Append, Projection, Ready, SessionPatch, Sessions as _};
use perennial_tests::postgres::Shared;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{open, rig};
use crate::fixture::{client, database};

async fn refusal(url: &str) -> OpenError {
    match Postgres::open(url, Settings::default()).await {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error,
    }
}

async fn run(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut db = PgConnection::connect(url).await?;
    db.execute(AssertSqlSafe(sql.to_owned())).await?;
    db.close().await
}

#[tokio::test]
async fn a_server_that_may_lose_commits() {
    let Some(url) = database().await else { return };
    let name = url.rsplit('/').next().unwrap();
    run(&url, &format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off"))
        .await
        .unwrap();
    let error = refusal(&url).await;
    assert!(
        matches!(
            error,
            OpenError::Setting {
                name: "synchronous_commit",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn schemas_of_another_time() {
    let Some(server) = Shared::get().unwrap() else { return };
    let empty = format!("e{}", Uuid::now_v7().simple());
    let empty = server.database(&empty, None).await.unwrap();
    let error = refusal(&empty).await;
    assert!(
        error.to_string().contains("perennial migrate --database-url"),
        "{error}"
    );

    let Some(url) = database().await else { return };
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, '', 0)";
    run(&url, later).await.unwrap();
    assert!(matches!(refusal(&url).await, OpenError::NewSchema));
}

#[tokio::test]
async fn migrations_at_the_same_moment_run_once() {
    let Some(server) = Shared::get().unwrap() else { return };
    let name = format!("m{}", Uuid::now_v7().simple());
    let url = server.database(&name, None).await.unwrap();
    let all: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrate(&url, None).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    open(&url).await;
}

#[tokio::test]
async fn a_private_schema_is_apart() {
    let Some(url) = database().await else { return };
    migrate(&url, Some("proof_1")).await.unwrap();
    let settings = Settings {
        schema: Some("proof_1".into()),
        ..Settings::default()
    };
    let private = std::sync::Arc::new(Postgres::open(&url, settings).await.unwrap());
    let key = rig(&private).session().await;
    assert!(open(&url).await.get(key).await.unwrap().is_none());
    assert!(private.get(key).await.unwrap().is_some());
    private.shutdown().await;
    drop_schema(&url, "proof_1").await.unwrap();
    assert!(migrate(&url, Some("no; such")).await.is_err());
}

/// I1: not even the schema's owner rewrites the log, and the servers' role has no right to try.
#[tokio::test]
async fn nobody_rewrites_the_log() {
    let Some(url) = database().await else { return };
    let rig = rig(&open(&url).await);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    for sql in [
        "UPDATE commits SET events = ''",
        "DELETE FROM commits",
        "TRUNCATE commits",
    ] {
        let error = run(&url, sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
        let as_servers = format!("SET ROLE perennial_app; {sql}");
        let error = run(&url, &as_servers).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{sql}: {error}");
    }
    let delete = Append {
        projection: Projection {
            patch: SessionPatch {
                delete: true,
                ..SessionPatch::default()
            },
            ..Projection::default()
        },
        ..client(key, Vec::new(), Ready::Keep)
    };
    rig.append(delete).await.unwrap();
    run(&url, "DELETE FROM commits").await.unwrap();
}

/// The servers act under that role.
#[tokio::test]
async fn connections_give_up_their_rights() {
    let Some(url) = database().await else { return };
    let store = open(&url).await;
    let user: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&store.pool_for_accounts())
        .await
        .unwrap();
    assert_eq!(user, "perennial_app");
}
