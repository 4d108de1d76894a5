//! Accounts on SQLite, in the server's one database file but through a small pool of its own. The session tables belong to
//! the broker's writer; here every write is one short `BEGIN IMMEDIATE` transaction that waits for the lock.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use perennial_engine::ports::StoreError;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Executor as _, Sqlite, SqliteConnection};

use super::sql::{Dialect, SqlAccounts, Statement};

/// Two connections: reads go on while a write waits for the file's lock.
const CONNECTIONS: u32 = 2;
const ACQUIRE: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_secs(5);
const TABLES: &str = concat!(
    include_str!("../../../schema/migrations/sqlite/0002_accounts.sql"),
    include_str!("../../../schema/migrations/sqlite/0009_files.sql"),
    include_str!("../../../schema/migrations/sqlite/0011_agents_with_mail.sql"),
    include_str!("../../../schema/migrations/sqlite/0016_environment_keys.sql"),
);

/// Accounts on SQLite, on a pool made by [`connect`] (or one with the same reset hook).
pub type SqliteAccounts = SqlAccounts<Sqlite>;

impl Dialect for Sqlite {
    // Takes the file's one write lock: whoever else changes something waits.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const ALONE: Option<&'static str> = None;

    fn remedy(error: &sqlx::Error) -> &'static str {
        let code = error.as_database_error().and_then(DatabaseError::code);
        // The low byte is SQLite's primary result code.
        match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(5 | 6) => "; another writer holds the database, try again",
            Some(8) => "; the data directory is read-only, make it writable",
            Some(10 | 13) => "; the disk is full or failing, make room",
            Some(14) => "; the database file cannot be opened",
            _ => "",
        }
    }

    /// A file does not go away, and a commit that fails has written nothing.
    fn is_lost(_: &sqlx::Error) -> bool {
        false
    }

    async fn execute(connection: &mut SqliteConnection, statement: Statement) -> Result<u64, sqlx::Error> {
        let done = statement.query::<Self>().execute(connection).await?;
        Ok(done.rows_affected())
    }

    async fn rows(connection: &mut SqliteConnection, statement: Statement) -> Result<Vec<SqliteRow>, sqlx::Error> {
        statement.query::<Self>().fetch_all(connection).await
    }
}

impl SqliteAccounts {
    /// Accounts that live as long as this value and its clones, for tests and simulation.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:").map_err(Sqlite::unavailable)?;
        // Every connection would be a database of its own: keep exactly one, for ever.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(Sqlite::unavailable)?;
        pool.execute(sqlx::raw_sql(TABLES)).await.map_err(Sqlite::unavailable)?;
        Ok(Self::new(pool))
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
    pool_options().connect_with(options).await.map_err(Sqlite::unavailable)
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
