//! An in-memory database with the accounts tables, for tests and simulation.

use std::str::FromStr as _;

use perennial_engine::ports::StoreError;
use sqlx::Executor as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::{SqliteAccounts, store};

const TABLES: &str = include_str!("../../../../schema/migrations/sqlite/0002_accounts.sql");

impl SqliteAccounts {
    /// Accounts that live as long as this value and its clones.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:").map_err(store)?;
        // Every connection would be a database of its own: keep exactly one, for ever.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(store)?;
        pool.execute(sqlx::raw_sql(TABLES)).await.map_err(store)?;
        Ok(Self::new(pool))
    }
}
