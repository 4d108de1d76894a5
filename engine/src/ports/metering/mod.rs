//! Metering: what model requests cost, who pays, and how much may be used.
//!
//! A request reserves what it may need of every budget that covers it before it leaves, and settles what it did need when it
//! is over. Whether there is room is decided under the lock that takes it, so budgets hold under any concurrency. Days are
//! UTC days of the store's clock.

mod budget;
mod key;
mod refusal;
mod trace;

use async_trait::async_trait;
use perennial_schema::{AgentId, BudgetId, GatewayKeyId, ReservationId, SessionId, Timestamp, WorkspaceId};

use super::StoreError;

pub use budget::{
    Amounts, Budget, BudgetChange, BudgetMetric, BudgetPeriod, BudgetScope, NewBudget, ReserveError, Reserved,
};
pub use key::{GatewayKey, GatewayKeyKind, MintError, Minted, NewGatewayKey};
pub use refusal::BudgetRefusal;
pub use trace::{Trace, TraceQuery, UsageBy, UsageQuery, UsageRow};

/// At whose expense a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payer {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// With this virtual key; the native loop needs none.
    pub key: Option<GatewayKeyId>,
    /// Nothing is asked for: it is set aside for another session, whose requests everybody else's budgets count themselves. Only
    /// those of this session look at it.
    pub aside: bool,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Reservations that nobody settled in time, counted as they were reserved.
    pub expired: u64,
    /// Sessions that may try again.
    pub readied: u64,
}

/// A page of budgets or keys, newest first.
#[derive(Clone, Debug)]
pub struct MeterListing<Id> {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Strictly beyond this one (creation time, id).
    pub cursor: Option<(Timestamp, Id)>,
    /// At most so many.
    pub limit: u32,
}

/// Budgets, virtual keys and what was used.
#[async_trait]
pub trait Metering: Send + Sync {
    /// Reserves an estimate in every budget that covers the payer, all or nothing. Not settled within the deadline, it is
    /// counted as reserved. Reserving the same id again changes nothing. Nothing is written when no budget covers the payer.
    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError>;

    /// Counts what a request did use and ends its reservation. A second time, or after the deadline's sweep, changes nothing.
    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError>;

    /// Ends reservations whose deadline passed, and readies sessions held by a budget that has room for them again.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Notes requests that are over. Never waits: they are written in batches by a task of the store, a bounded number waits
    /// there, and what does not fit is dropped and counted in a metric.
    fn record(&self, traces: Vec<Trace>);

    /// Waits until what was recorded is written.
    async fn flush(&self) -> Result<(), StoreError>;

    /// What was used, added up.
    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// Traces.
    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError>;

    /// Forgets traces from before a time, and virtual keys that were no good by then; sums stay. How many rows went.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Makes a budget; what there is under the id already stays as it is. Requests from before are not counted.
    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError>;

    /// A budget.
    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError>;

    /// Budgets.
    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError>;

    /// Changes a budget, and readies every session it holds in the same commit. None when there is no such budget.
    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError>;

    /// Removes a budget, and readies every session it holds in the same commit. False when it was not there.
    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError>;

    /// Makes a virtual key.
    async fn mint(&self, key: NewGatewayKey) -> Result<Minted, MintError>;

    /// A virtual key, good or not: its printed id names no tenant, so its row does.
    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;

    /// Virtual keys, without those of turns.
    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError>;

    /// Makes a virtual key useless; a second time changes nothing. None when there is no such key.
    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError>;
}
