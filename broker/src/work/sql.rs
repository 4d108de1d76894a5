//! Work queues in SQL tables, on either database.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{StoreError, Work, WorkQueueKey, WorkQueues};
use perennial_schema::{Timestamp, WorkId};

use super::words;
use crate::executors::{Postgres, Sqlite};
use crate::log::{postgres, sqlite};
use crate::sql::{Columns as _, Desk, vanished};

/// Queues in the embedded database, beside the sessions of this store.
#[must_use]
pub fn embedded(store: sqlite::Sqlite) -> Arc<dyn WorkQueues> {
    Arc::new(Sql {
        desk: Sqlite::new(store),
    })
}

/// Queues in the shared database, beside the sessions of this store.
#[must_use]
pub fn shared(store: &postgres::Postgres) -> Arc<dyn WorkQueues> {
    Arc::new(Sql {
        desk: Postgres::new(store),
    })
}

struct Sql<D> {
    desk: D,
}

#[async_trait]
impl<D: Desk> WorkQueues for Sql<D> {
    async fn open(
        &self,
        queue: WorkQueueKey,
        lately_millis: u64,
        limit: u32,
    ) -> Result<(Timestamp, Vec<Work>), StoreError> {
        let rows = self.desk.asked(words::open(queue, lately_millis, limit)).await?;
        let now = rows.first().ok_or_else(vanished)?.time("now")?;
        let found: Result<Vec<Option<Work>>, StoreError> = rows.iter().map(words::maybe_work_of).collect();
        Ok((now, found?.into_iter().flatten().collect()))
    }

    async fn add(&self, work: &Work) -> Result<bool, StoreError> {
        self.desk.asked(words::forget(work.queue)).await?;
        let rows = self.desk.asked(words::add(work)?).await?;
        Ok(!rows.is_empty())
    }

    async fn swap(&self, seen: u64, work: &Work) -> Result<bool, StoreError> {
        let rows = self.desk.asked(words::swap(seen, work)?).await?;
        Ok(!rows.is_empty())
    }

    async fn piece(&self, id: WorkId) -> Result<Option<(Timestamp, Work)>, StoreError> {
        let rows = self.desk.asked(words::piece(id)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some((row.time("now")?, words::work_of(row)?)))
    }

    async fn list(
        &self,
        queue: WorkQueueKey,
        before: Option<(Timestamp, WorkId)>,
        limit: u32,
    ) -> Result<Vec<Work>, StoreError> {
        let rows = self.desk.asked(words::list(queue, before, limit)).await?;
        rows.iter().map(words::work_of).collect()
    }

    async fn attend(&self, queue: WorkQueueKey, worker: &str) -> Result<(), StoreError> {
        self.desk.noted(words::absent(queue)).await?;
        self.desk.noted(words::attend(queue, worker)).await.map(|_| ())
    }

    async fn attending(&self, queue: WorkQueueKey) -> Result<u64, StoreError> {
        let rows = self.desk.asked(words::attending(queue)).await?;
        rows.first().ok_or_else(vanished)?.amount("workers")
    }
}
