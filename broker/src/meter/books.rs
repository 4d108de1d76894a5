//! What a store must do for the meter.

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetScope, GatewayKey, MeterListing, NewBudget, NewGatewayKey, Payer,
    ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKeyHash, WorkspaceId};

/// A store of the meter. Calls are cancel-safe, and each change is one commit.
#[async_trait]
pub(super) trait Books: Send + Sync + 'static {
    /// Which scopes have budgets; one more than `limit` when there are too many to know.
    async fn covered(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<BudgetScope>, StoreError>;

    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError>;

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError>;

    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Adds traces and their sums; one that is there already is not added again.
    async fn write(&self, traces: &[Trace]) -> Result<(), StoreError>;

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError>;

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError>;

    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError>;

    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError>;

    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError>;

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError>;

    /// The key, and whether it is new.
    async fn add_key(
        &self,
        id: GatewayKeyId,
        hash: VirtualKeyHash,
        key: NewGatewayKey,
    ) -> Result<(GatewayKey, bool), StoreError>;

    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;

    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError>;

    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;
}
