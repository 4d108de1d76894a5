//! Accounts in SQL tables, on either database: one file per table, the same statements for both. What differs is a
//! [`Dialect`].

mod agents;
mod dialect;
mod environment_keys;
mod environments;
mod files;
mod keys;
mod logins;
mod port;
mod requests;
mod resource;
mod work;

use std::future::Future;

use perennial_engine::ports::StoreError;
use sqlx::Pool;

use self::dialect::STORE;
pub(super) use self::dialect::{Dialect, Statement};

/// Accounts in a migrated database. Every write is one short transaction.
#[derive(Debug)]
pub struct SqlAccounts<DB: Dialect> {
    pool: Pool<DB>,
}

impl<DB: Dialect> Clone for SqlAccounts<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
        }
    }
}

impl<DB: Dialect> SqlAccounts<DB> {
    /// Uses a pool on a migrated database. The pool resets its connections before it lends them (INVARIANTS I18).
    #[must_use]
    pub const fn new(pool: Pool<DB>) -> Self {
        Self { pool }
    }

    /// Runs a piece of database work in its own task: dropping the caller cannot leave a connection inside a transaction
    /// (INVARIANTS §0.5).
    async fn run<T, E, F, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        W: FnOnce(Pool<DB>) -> F,
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
