//! Connections: pragmas, the pool of readers and the accounts' pool.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor as _, SqliteConnection};

use crate::limits;

/// The database file of a data directory.
pub(super) const FILE: &str = "perennial.db";

/// A connection that writes: `FULL`, because `NORMAL` may roll committed work back at power loss (I2).
pub(super) fn options(data_dir: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(data_dir.join(FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(limits::BUSY_WAIT)
        .statement_cache_capacity(limits::STATEMENTS)
        .pragma("journal_size_limit", limits::WAL_BYTES.to_string())
        // Most of what is written is written again soon: the later it is carried over, the less often.
        .pragma("wal_autocheckpoint", limits::WAL_PAGES.to_string())
        // Savepoints keep the pages they may have to put back; by default in a file, at twice the writing.
        .pragma("temp_store", "MEMORY")
}

/// The pool that reads sessions; it cannot write.
pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    pool(limits::READERS, options.clone().pragma("query_only", "ON"))
}

/// The pool of the accounts' tables.
pub(super) fn accounts(options: &SqliteConnectOptions) -> SqlitePool {
    pool(limits::ACCOUNT_CONNECTIONS, options.clone())
}

/// A pool that never hands out a connection inside somebody else's transaction: a cancelled `begin()` can leave one behind
/// (INVARIANTS §0.5). It is ended when the connection comes back, because until then it would keep everybody else from
/// writing, and once more before the connection goes out.
fn pool(size: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(limits::QUEUE_WAIT)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(rolled_back(connection)))
        .before_acquire(|connection, _| Box::pin(rolled_back(connection)))
        .connect_lazy_with(options)
}

/// Ends a transaction that is still open; without one, SQLite says so and nothing happens. Any other error means that the
/// connection itself is gone.
async fn rolled_back(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    match connection.execute("ROLLBACK").await {
        Ok(_) => Ok(true),
        Err(error) => Ok(error.as_database_error().is_some()),
    }
}
