//! The port over any store of the meter.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, Clock, GatewayKey, MeterListing, Metering, MintError, Minted, NewBudget,
    NewGatewayKey, Payer, ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKey, WorkspaceId};
use rand::TryRngCore as _;
use uuid::Uuid;

use super::books::Books;
use super::cover::Cover;
use super::recorder::Recorder;
use crate::limits;
use crate::log;

/// The meter over a store. Cheap to clone; all clones share one queue of traces. Made within a tokio runtime.
#[derive(Clone)]
pub struct Meter {
    books: Arc<dyn Books>,
    cover: Arc<Cover>,
    recorder: Recorder,
}

impl Meter {
    /// Without a disk, beside the sessions it readies.
    #[must_use]
    pub fn memory(sessions: log::memory::Memory, clock: Arc<dyn Clock>) -> Self {
        Self::over(Arc::new(super::memory::Memory::new(sessions, clock)))
    }

    /// In the embedded database.
    #[must_use]
    pub fn sqlite(store: log::sqlite::Sqlite) -> Self {
        Self::over(Arc::new(super::sqlite::Sqlite::new(store)))
    }

    /// In the shared database.
    #[must_use]
    pub fn postgres(store: &log::postgres::Postgres) -> Self {
        Self::over(Arc::new(super::postgres::Postgres::new(store)))
    }

    fn over(books: Arc<dyn Books>) -> Self {
        Self {
            recorder: Recorder::start(Arc::clone(&books)),
            cover: Arc::default(),
            books,
        }
    }

    async fn covers(&self, payer: &Payer) -> Result<bool, StoreError> {
        let ticket = match self.cover.covers(payer) {
            Ok(covered) => return Ok(covered),
            Err(ticket) => ticket,
        };
        let read_at = Instant::now();
        let scopes = self.books.covered(payer.workspace, limits::COVER_SCOPES).await?;
        self.cover.learn(payer.workspace, scopes, ticket, read_at);
        // Not kept, or too old by now: then the store decides.
        Ok(self.cover.covers(payer).unwrap_or(true))
    }
}

fn random() -> Result<[u8; 32], StoreError> {
    let mut bytes = [0; 32];
    let filled = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| StoreError::Unavailable {
        store: "randomness",
        message: error.to_string(),
    })?;
    Ok(bytes)
}

#[async_trait]
impl Metering for Meter {
    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError> {
        if !self.covers(payer).await? {
            return Ok(Reserved::default());
        }
        self.books.reserve(id, payer, estimate, deadline_millis).await
    }

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError> {
        self.books.settle(workspace, id, actual).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.books.sweep().await
    }

    fn record(&self, traces: Vec<Trace>) {
        self.recorder.record(traces);
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.recorder.flush().await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.books.usage(query).await
    }

    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError> {
        self.books.traces(query).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.books.prune(before).await
    }

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError> {
        let workspace = budget.workspace;
        let made = self.books.create_budget(budget).await;
        // Also after an error: it may have happened.
        self.cover.forget(workspace);
        made
    }

    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        self.books.budget(workspace, id).await
    }

    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError> {
        self.books.budgets(listing).await
    }

    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError> {
        self.books.change_budget(workspace, id, change).await
    }

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError> {
        let deleted = self.books.delete_budget(workspace, id).await;
        self.cover.forget(workspace);
        deleted
    }

    async fn mint(&self, key: NewGatewayKey) -> Result<Minted, MintError> {
        let random = random()?;
        let id = key.id.unwrap_or_else(|| GatewayKeyId::from_uuid(Uuid::now_v7()));
        let secret = VirtualKey::new(id, random);
        let (key, fresh) = self.books.add_key(id, secret.hash(), key).await?;
        if fresh {
            Ok(Minted { key, secret })
        } else {
            Err(MintError::Exists(Box::new(key)))
        }
    }

    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        self.books.key(id).await
    }

    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError> {
        self.books.keys(listing).await
    }

    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        self.books.revoke(workspace, id).await
    }
}
