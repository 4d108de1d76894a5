//! Commit, then tell: a meter whose changes others hear of. Sessions that are readied wake workers; a budget that is nearly used
//! up says so in the log of the session that used it. What is lost here costs latency or a warning, never a count.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Append, Authority, Budget, BudgetChange, Bus, Clock, GatewayKey, Ids, Log, MeterListing, Metering,
    MintError, Minted, NewBudget, NewGatewayKey, Payer, Projection, ReserveError, Reserved, SessionKey, StoreError,
    Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::event::{Body, BudgetWarning, Draft};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, WorkspaceId};

use super::counter::{metric_name, period_name, scope_name};

/// A meter that tells.
pub struct Told<M> {
    meter: M,
    bus: Arc<dyn Bus>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl<M> Told<M> {
    /// Joins a meter with who is told. `log` tells the bus of what it is given.
    pub fn new(meter: M, bus: Arc<dyn Bus>, log: Arc<dyn Log>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self {
            meter,
            bus,
            log,
            clock,
            ids,
        }
    }

    /// In a task of its own: the request does not wait for it.
    fn warn(&self, key: SessionKey, budget: &Budget) {
        let body = Body::BudgetWarning(BudgetWarning {
            budget_id: budget.id,
            scope: scope_name(budget.scope).to_owned(),
            metric: metric_name(budget.metric).to_owned(),
            period: period_name(budget.period).to_owned(),
            limit: budget.limit,
            used: budget.used.saturating_add(budget.reserved),
            warn_percent: budget.warn_percent.unwrap_or_default(),
        });
        let append = Append {
            key,
            append_id: self.ids.append(),
            events: vec![Draft::new(self.ids.event(), body, self.clock.now())],
            authority: Authority::Client {
                guards: Vec::new(),
                idempotency: None,
            },
            projection: Projection::default(),
        };
        let log = Arc::clone(&self.log);
        tokio::spawn(async move {
            if let Err(error) = log.append(append).await {
                tracing::warn!(session.id = %key.session, %error, "a budget's warning could not be told");
            }
        });
    }
}

#[async_trait]
impl<M: Metering> Metering for Told<M> {
    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError> {
        let reserved = self.meter.reserve(id, payer, estimate, deadline_millis).await?;
        for budget in &reserved.warnings {
            tracing::warn!(budget = %budget.id, used = budget.used, reserved = budget.reserved, limit = budget.limit,
                "a budget is nearly used up");
            if let Some(session) = payer.session {
                let workspace = payer.workspace;
                self.warn(SessionKey { workspace, session }, budget);
            }
        }
        Ok(reserved)
    }

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError> {
        self.meter.settle(workspace, id, actual).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let swept = self.meter.sweep().await?;
        if swept.readied > 0 {
            self.bus.wake();
        }
        Ok(swept)
    }

    fn record(&self, traces: Vec<Trace>) {
        self.meter.record(traces);
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.meter.flush().await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.meter.usage(query).await
    }

    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError> {
        self.meter.traces(query).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.meter.prune(before).await
    }

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError> {
        self.meter.create_budget(budget).await
    }

    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        self.meter.budget(workspace, id).await
    }

    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError> {
        self.meter.budgets(listing).await
    }

    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError> {
        let changed = self.meter.change_budget(workspace, id, change).await?;
        if changed.is_some() {
            self.bus.wake();
            self.bus.changed(workspace);
        }
        Ok(changed)
    }

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError> {
        let deleted = self.meter.delete_budget(workspace, id).await?;
        if deleted {
            self.bus.wake();
            self.bus.changed(workspace);
        }
        Ok(deleted)
    }

    async fn mint(&self, key: NewGatewayKey) -> Result<Minted, MintError> {
        self.meter.mint(key).await
    }

    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        self.meter.key(id).await
    }

    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError> {
        self.meter.keys(listing).await
    }

    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        self.meter.revoke(workspace, id).await
    }
}
