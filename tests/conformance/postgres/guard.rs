//! Transactions that somebody else leaves open: one that is idle for too long is ended, one that works is not.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::open;
use crate::fixture::database;

/// What a transaction may be idle.
const LIMIT: Duration = Duration::from_secs(2);
/// For whatever has to happen in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transaction that holds the past, and the server's process.
async fn begun(url: &str) -> (PgConnection, i32) {
    let mut db = PgConnection::connect(url).await.unwrap();
    db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let pid = sqlx::query_scalar("SELECT pg_backend_pid() FROM (SELECT count(*) FROM sessions) s");
    let pid = pid.fetch_one(&mut db).await.unwrap();
    (db, pid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_left_idle_is_ended_and_one_that_works_is_not() {
    let Some(url) = database().await else { return };
    let store = open(&url).await;
    let (mut idle, pid) = begun(&url).await;
    let (mut busy, _) = begun(&url).await;
    // Looks at nothing: what is dead can be cleared away beside it.
    let mut harmless = PgConnection::connect(&url).await.unwrap();
    harmless.execute("BEGIN").await.unwrap();
    let seen = store.left_open(Duration::ZERO).await.unwrap();
    assert!(seen.iter().any(|left| left.pid == pid), "{seen:?}");
    assert_eq!(store.left_open(Duration::from_secs(3600)).await.unwrap(), []);

    let begin = Instant::now();
    let _guard = store.guard(LIMIT);
    let working = tokio::spawn(async move {
        // Longer than the limit and some looks, in a transaction that is never idle for as long.
        while begin.elapsed() < LIMIT * 3 {
            busy.execute("SELECT pg_sleep(0.05)").await?;
        }
        busy.execute("COMMIT").await
    });
    let mut outside = PgConnection::connect(&url).await.unwrap();
    let ended = async {
        let mut there = true;
        while there {
            let look = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)").bind(pid);
            there = look.fetch_one(&mut outside).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(
        begin.elapsed() >= LIMIT - Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    idle.execute("COMMIT").await.unwrap_err();
    working.await.unwrap().unwrap();
    harmless.execute("COMMIT").await.unwrap();
}
