//! The pool in SQL tables, on either database.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{Backlog, Demand, Pool, PoolWorker, Standing, StoreError, WorkerCard};
use perennial_schema::OwnerId;

use super::words;
use crate::executors::{Postgres, Sqlite};
use crate::log::{postgres, sqlite};
use crate::sql::{Desk, vanished};

/// The pool in the embedded database, beside the sessions of this store.
#[must_use]
pub fn embedded(store: sqlite::Sqlite) -> Arc<dyn Pool> {
    Arc::new(Sql {
        workspace_slots: store.workspace_slots(),
        desk: Sqlite::new(store),
    })
}

/// The pool in the shared database, beside the sessions of this store.
#[must_use]
pub fn shared(store: &postgres::Postgres) -> Arc<dyn Pool> {
    Arc::new(Sql {
        workspace_slots: store.workspace_slots(),
        desk: Postgres::new(store),
    })
}

struct Sql<D> {
    desk: D,
    /// How many sessions a workspace gets at once.
    workspace_slots: Option<u32>,
}

#[async_trait]
impl<D: Desk> Pool for Sql<D> {
    async fn attend(&self, owner: OwnerId, card: &WorkerCard) -> Result<Standing, StoreError> {
        let rows = self.desk.noted(words::attend(owner, card)?).await?;
        let row = rows.first().ok_or_else(vanished)?;
        if words::has_joined(row)? {
            // Whoever was killed never left.
            self.desk.noted(words::forget()).await?;
        }
        words::standing_of(row)
    }

    async fn leave(&self, owner: OwnerId) -> Result<(), StoreError> {
        self.desk.noted(words::leave(owner)).await.map(|_| ())
    }

    async fn workers(&self) -> Result<Vec<PoolWorker>, StoreError> {
        let rows = self.desk.asked(words::workers()).await?;
        rows.iter().map(words::worker_of).collect()
    }

    async fn steer(&self, owner: OwnerId, standing: Standing) -> Result<Option<PoolWorker>, StoreError> {
        let rows = self.desk.asked(words::steer(owner, standing)).await?;
        rows.first().map(words::worker_of).transpose()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let rows = self.desk.asked(words::backlog(D::MICROS, self.workspace_slots)).await?;
        words::backlog_of(rows.first().ok_or_else(vanished)?)
    }

    async fn demand(&self) -> Result<Vec<Demand>, StoreError> {
        let rows = self.desk.asked(words::demand(D::MICROS)).await?;
        rows.iter().map(words::demand_of).collect()
    }
}
