//! Questions over a pool. Each runs in a task of its own, so that a caller that is dropped leaves no half-used connection
//! (I18); a connection that breaks or stays silent is thrown away, and the question is asked again for a while.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::StoreError;
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::failure::{self, Kind};
use super::script::Script;
use super::site::Site;
use crate::limits;

/// A pool, and where its health is noted.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(super) site: Arc<Site>,
    pub(super) pool: PgPool,
}

impl Desk {
    /// Asks something that may be asked twice: a read, or a write that is the same the second time.
    pub(crate) async fn ask(
        &self,
        make: impl Fn() -> Script + Send + Sync + 'static,
    ) -> Result<Vec<PgRow>, StoreError> {
        let desk = self.clone();
        let asked = tokio::spawn(async move { desk.until_answered(&make).await }).await;
        match asked {
            Ok(answer) => answer.map_err(|error| failure::nothing_written(&error)),
            Err(error) => Err(failure::unavailable(format!("a reader failed: {error}"))),
        }
    }

    /// The same, for whoever is in a task already.
    pub(super) async fn until_answered(
        &self,
        make: &(impl Fn() -> Script + Send + Sync),
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let until = Instant::now() + limits::QUEUE_WAIT;
        let mut pause = Duration::from_millis(5);
        loop {
            let error = match self.once(make()).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            let again = matches!(failure::kind(&error), Kind::Lost | Kind::Again);
            if !again || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) || Instant::now() > until
            {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// Asks once. Never to be called from a future that may be dropped.
    pub(super) async fn once(&self, script: Script) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut connection = self.pool.acquire().await.inspect_err(|error| {
            if !matches!(error, sqlx::Error::PoolClosed) {
                self.site.failed();
            }
        })?;
        let done = tokio::time::timeout(limits::STATEMENT_WAIT, script.rows(&mut connection)).await;
        let done = done.unwrap_or_else(|_| Err(failure::silent()));
        if let Err(error) = &done
            && failure::kind(error) == Kind::Lost
        {
            self.site.failed();
            // Nobody else gets it, and its place in the pool is free.
            drop(connection.detach());
        }
        done
    }
}
