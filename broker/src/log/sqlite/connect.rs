//! Connections: pragmas, the pool of readers and the accounts' pool.

use std::path::Path;

use sqlx::Executor as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

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
/// (INVARIANTS §0.5).
fn pool(size: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(limits::QUEUE_WAIT)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                // Fails when there is no transaction, which is the usual case.
                let _ = connection.execute("ROLLBACK").await;
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}
