//! Accounts on a real file.

use std::path::Path;

use perennial_api::accounts::Accounts as _;
use perennial_api::accounts::sqlite::{SqliteAccounts, connect};
use perennial_schema::Timestamp;
use sqlx::{Executor as _, SqlitePool};

const TABLES: &str = include_str!("../../../schema/migrations/sqlite/0002_accounts.sql");

/// A file with the tables in it, as a migration leaves it; `connect` itself never makes one.
async fn migrated(file: &Path) -> SqlitePool {
    assert!(connect(file).await.is_err());
    std::fs::File::create(file).unwrap();
    let pool = connect(file).await.unwrap();
    pool.execute(sqlx::raw_sql(TABLES)).await.unwrap();
    pool
}

#[tokio::test]
async fn a_borrower_never_inherits_an_open_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let pool = migrated(&dir.path().join("perennial.db")).await;
    let accounts = SqliteAccounts::new(pool.clone());
    for _ in 0..4 {
        // What a cancelled `begin` leaves behind: a write lock nobody knows of.
        let mut connection = pool.acquire().await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        drop(connection);
        let ensured = accounts
            .ensure_workspace_and_key(None, Timestamp::from_micros(0))
            .await
            .unwrap();
        assert!(ensured.fresh.is_some());
    }
}

#[tokio::test]
async fn keys_survive_a_restart_and_only_as_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("perennial.db");
    let pool = migrated(&file).await;
    let at = Timestamp::from_micros(0);
    let first = SqliteAccounts::new(pool.clone())
        .ensure_workspace_and_key(None, at)
        .await
        .unwrap();
    let key = first.fresh.unwrap();
    pool.close().await;
    let pool = connect(&file).await.unwrap();
    let again = SqliteAccounts::new(pool.clone())
        .ensure_workspace_and_key(Some(&key), at)
        .await
        .unwrap();
    assert!(again.fresh.is_none() && again.workspace == first.workspace);
    pool.close().await;
    let bytes = std::fs::read(&file).unwrap();
    let secret = key.expose().rsplit_once('_').unwrap().1.as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
}
