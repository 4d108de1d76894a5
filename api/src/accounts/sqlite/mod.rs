//! Accounts on SQLite, in the server's one database file but through a small pool of its own. The session tables belong to
//! the broker's writer; here every write is one short `BEGIN IMMEDIATE` transaction that waits for the lock.

mod agents;
mod environments;
mod keys;
mod memory;
mod port;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use perennial_engine::ports::{Idempotency, IdempotencyMode, StoreError};
use perennial_schema::{Timestamp, WorkspaceId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, Row as _, Sqlite, SqliteConnection, Transaction};

use super::{AccountsError, Earlier};
use crate::limits::{IDEMPOTENCY_KEPT, SDK_RETRY_WINDOW};

const STORE: &str = "accounts";
/// Two connections: reads go on while a write waits for the file's lock.
const CONNECTIONS: u32 = 2;
const ACQUIRE: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_secs(5);

/// Accounts on SQLite.
#[derive(Clone, Debug)]
pub struct SqliteAccounts {
    pool: SqlitePool,
}

impl SqliteAccounts {
    /// Uses a pool made by [`connect`] (or one with the same reset hook) on a migrated database.
    #[must_use]
    pub const fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Runs a piece of database work in its own task: dropping the caller cannot leave a connection inside a transaction
    /// (INVARIANTS §0.5).
    async fn run<T, E, F, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send,
        W: FnOnce(SqlitePool) -> F + Send + 'static,
        F: 'static,
    {
        let task = tokio::spawn(work(self.pool.clone()));
        task.await.unwrap_or_else(|failure| {
            Err(E::from(StoreError::Unavailable {
                store: STORE,
                message: format!("a query was lost: {failure}"),
            }))
        })
    }
}

/// Opens the pool the accounts use: WAL, `synchronous=FULL`, and a reset before and after every loan that ends whatever
/// transaction a borrower left open.
///
/// # Errors
/// When the file cannot be opened.
pub async fn connect(path: &Path) -> Result<SqlitePool, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY);
    pool_options().connect_with(options).await.map_err(store)
}

fn pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .min_connections(0)
        .acquire_timeout(ACQUIRE)
        .before_acquire(|connection, _| Box::pin(reset(connection)))
        // A transaction left open on an idle connection would hold the file's write lock against everybody, the broker's
        // writer too, until that one connection happened to be lent again.
        .after_release(|connection, _| Box::pin(reset(connection)))
}

/// Ends whatever transaction is open; fails when there is none, which is the normal case.
async fn reset(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let _ = connection.execute("ROLLBACK").await;
    Ok(true)
}

async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, StoreError> {
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(store)
}

/// Commits. A commit that fails is rolled back by SQLite; nothing was written.
async fn commit(transaction: Transaction<'_, Sqlite>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(store)
}

/// What a database error means to a client.
#[expect(clippy::needless_pass_by_value, reason = "used as map_err(store)")]
fn store(error: sqlx::Error) -> StoreError {
    let remedy = match &error {
        sqlx::Error::Database(database) => match database.code().as_deref().and_then(|code| code.parse::<u32>().ok()) {
            // The low byte is SQLite's primary result code.
            Some(code) => match code & 0xff {
                5 | 6 => "; another writer holds the database, try again",
                8 => "; the data directory is read-only, make it writable",
                10 | 13 => "; the disk is full or failing, make room",
                14 => "; the database file cannot be opened",
                _ => "",
            },
            None => "",
        },
        sqlx::Error::PoolTimedOut => "; all connections are busy, try again",
        _ => "",
    };
    StoreError::Unavailable {
        store: STORE,
        message: format!("{error}{remedy}"),
    }
}

/// A row that does not parse.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over ids and errors they no longer need"
)]
fn inconsistent(table: &'static str, key: impl ToString, problem: impl ToString) -> StoreError {
    StoreError::Inconsistent {
        table,
        key: key.to_string(),
        message: problem.to_string(),
    }
}

/// Reads a JSON column.
fn decode<T: serde::de::DeserializeOwned>(table: &'static str, key: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| inconsistent(table, key, error))
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| inconsistent("(unsaved)", "", error))
}

const RECALL: &str = "SELECT body_hash, resource_id, version, created_at FROM account_idempotency \
                      WHERE workspace_id = ?1 AND scope = ?2 AND key = ?3";
const REMEMBER: &str = "INSERT OR REPLACE INTO account_idempotency \
                        (workspace_id, scope, key, body_hash, resource_id, version, created_at) \
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const FORGET: &str = "DELETE FROM account_idempotency WHERE created_at < ?1";

/// Looks an idempotency key up, by the rules of its mode.
async fn recall(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    idempotency: &Idempotency,
    at: Timestamp,
) -> Result<Option<Earlier>, AccountsError> {
    if idempotency.mode == IdempotencyMode::Remember {
        return Ok(None);
    }
    let row = sqlx::query(RECALL)
        .bind(workspace.to_string())
        .bind(&idempotency.scope)
        .bind(&idempotency.key)
        .fetch_optional(connection)
        .await
        .map_err(store)?;
    let Some(row) = row else { return Ok(None) };
    let age = at.micros().saturating_sub(row.get::<i64, _>("created_at"));
    let kept = match idempotency.mode {
        IdempotencyMode::Retry => SDK_RETRY_WINDOW,
        IdempotencyMode::Key | IdempotencyMode::Remember => IDEMPOTENCY_KEPT,
    };
    if u128::try_from(age).unwrap_or(0) > kept.as_micros() {
        return Ok(None);
    }
    if row.get::<&str, _>("body_hash") != idempotency.body_hash {
        return match idempotency.mode {
            IdempotencyMode::Key => Err(AccountsError::KeyReused),
            IdempotencyMode::Remember | IdempotencyMode::Retry => Ok(None),
        };
    }
    Ok(Some(Earlier {
        resource_id: row.get("resource_id"),
        version: u64::try_from(row.get::<i64, _>("version")).unwrap_or_default(),
    }))
}

/// Remembers what a request made, in the same transaction as the effect, and drops what is too old.
async fn remember(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    idempotency: Option<&Idempotency>,
    made: &Earlier,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(idempotency) = idempotency else { return Ok(()) };
    let kept = i64::try_from(IDEMPOTENCY_KEPT.as_micros()).unwrap_or(i64::MAX);
    sqlx::query(FORGET)
        .bind(at.micros().saturating_sub(kept))
        .execute(&mut *connection)
        .await
        .map_err(store)?;
    sqlx::query(REMEMBER)
        .bind(workspace.to_string())
        .bind(&idempotency.scope)
        .bind(&idempotency.key)
        .bind(&idempotency.body_hash)
        .bind(&made.resource_id)
        .bind(number(made.version))
        .bind(at.micros())
        .execute(connection)
        .await
        .map_err(store)?;
    Ok(())
}

/// SQLite's integers are signed.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Bounds and cursor of a listing as the six numbers and one text its statement takes.
struct Window {
    gt: i64,
    gte: i64,
    lt: i64,
    lte: i64,
    cursor_at: i64,
    cursor_id: String,
}

impl Window {
    fn of<Id: std::fmt::Display>(listing: &super::Listing<Id>) -> Self {
        let created = &listing.created;
        let micros = |time: Option<Timestamp>, none: i64| time.map_or(none, Timestamp::micros);
        Self {
            gt: micros(created.gt, i64::MIN),
            gte: micros(created.gte, i64::MIN),
            lt: micros(created.lt, i64::MAX),
            lte: micros(created.lte, i64::MAX),
            cursor_at: micros(listing.cursor.as_ref().map(|(at, _)| *at), i64::MAX),
            cursor_id: listing
                .cursor
                .as_ref()
                .map(|(_, id)| id.to_string())
                .unwrap_or_default(),
        }
    }
}
