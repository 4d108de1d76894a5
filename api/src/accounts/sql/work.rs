//! A connection at work. sqlx's own transactions are not used: what they leave behind when they are dropped, or when the
//! database falls silent, would go back into the pool (INVARIANTS §0.5, I18).

use perennial_engine::ports::StoreError;
use sqlx::Pool;
use sqlx::pool::PoolConnection;

use super::dialect::{Dialect, Statement, statement};

/// A connection of the pool, perhaps inside a transaction. Dropped, it leaves none open.
pub(super) struct Work<DB: Dialect> {
    /// None once it is lost.
    connection: Option<PoolConnection<DB>>,
    /// A transaction was begun and has not ended.
    open: bool,
}

impl<DB: Dialect> Work<DB> {
    /// For reads, each by itself.
    pub(super) async fn reading(pool: &Pool<DB>) -> Result<Self, StoreError> {
        let connection = pool.acquire().await.map_err(DB::unavailable)?;
        Ok(Self {
            connection: Some(connection),
            open: false,
        })
    }

    /// For a change: nothing of it has happened until it is committed.
    pub(super) async fn begin(pool: &Pool<DB>) -> Result<Self, StoreError> {
        let mut work = Self::reading(pool).await?;
        work.open = true;
        work.execute(statement(DB::BEGIN)).await.map_err(DB::unavailable)?;
        Ok(work)
    }

    /// Waits until nobody else changes what has this name.
    pub(super) async fn alone(&mut self, name: impl ToString) -> Result<(), StoreError> {
        if let Some(lock) = DB::ALONE {
            let lock = statement(lock).text(format!("perennial accounts {}", name.to_string()));
            self.execute(lock).await.map_err(DB::unavailable)?;
        }
        Ok(())
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        let done = DB::execute(connection, statement).await;
        done.inspect_err(|error| self.failed(error))
    }

    /// Asks for rows.
    pub(super) async fn rows(&mut self, statement: Statement) -> Result<Vec<DB::Row>, StoreError> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed);
        let done = DB::rows(connection.map_err(DB::unavailable)?, statement).await;
        done.inspect_err(|error| self.failed(error)).map_err(DB::unavailable)
    }

    /// Makes the change.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let done = self.execute(statement("COMMIT")).await;
        done.map_err(DB::uncommitted)?;
        self.open = false;
        Ok(())
    }

    /// A connection that may still be answering an old statement is given to nobody.
    fn failed(&mut self, error: &sqlx::Error) {
        if DB::is_lost(error)
            && let Some(connection) = self.connection.take()
        {
            drop(connection.detach());
        }
    }
}

impl<DB: Dialect> Drop for Work<DB> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection.detach());
            return;
        };
        runtime.spawn(async move {
            if DB::execute(&mut connection, statement("ROLLBACK")).await.is_err() {
                drop(connection.detach());
            }
        });
    }
}
