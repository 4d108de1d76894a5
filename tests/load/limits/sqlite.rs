//! The embedded limits: one row a commit, and one writer that commits whatever waits as one statement. The same driver and
//! the same durability as the product's own file.

use std::path::Path;

use anyhow::{Context, Result};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Executor as _, SqliteConnection};
use tokio::sync::Mutex;

use super::{Direct, Group, Row};

/// A file with one table.
pub(crate) async fn open(dir: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("limit.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .statement_cache_capacity(512);
    let mut connection = options.connect().await?;
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS records (session BLOB NOT NULL, seq INTEGER NOT NULL, payload TEXT NOT NULL,
             PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID",
        )
        .await?;
    Ok(connection)
}

/// One row a commit.
pub(crate) struct OneByOne(pub(crate) Mutex<SqliteConnection>);

#[async_trait]
impl Direct for OneByOne {
    async fn write(&self, _: usize, row: Row) -> Result<()> {
        sqlx::query("INSERT INTO records (session, seq, payload) VALUES (?, ?, ?)")
            .bind(row.session.as_bytes().as_slice())
            .bind(row.seq)
            .bind(row.payload)
            .execute(&mut *self.0.lock().await)
            .await?;
        Ok(())
    }
}

/// Whatever waits, in one statement.
pub(crate) struct Together(pub(crate) SqliteConnection);

#[async_trait]
impl Group<Row> for Together {
    async fn write(&mut self, rows: &[Row]) -> Result<()> {
        let places = vec!["(?,?,?)"; rows.len()].join(",");
        let sql = format!("INSERT INTO records (session, seq, payload) VALUES {places}");
        let mut values = SqliteArguments::default();
        for row in rows {
            let added = values
                .add(row.session.as_bytes().to_vec())
                .and_then(|()| values.add(row.seq));
            added
                .and_then(|()| values.add(row.payload.clone()))
                .map_err(anyhow::Error::from_boxed)
                .context("a value SQLite does not take")?;
        }
        self.0.execute(sqlx::query_with(AssertSqlSafe(sql), values)).await?;
        Ok(())
    }
}
