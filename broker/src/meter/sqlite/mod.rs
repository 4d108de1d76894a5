//! The meter in the embedded database: its changes are members of the one writer's transactions. A place in a budget promises
//! nothing beyond a power loss, like a lease: the next append's sync carries it along.

mod verbs;

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetScope, GatewayKey, MeterListing, NewBudget, NewGatewayKey, Payer,
    ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKeyHash, WorkspaceId};
use sqlx::sqlite::SqliteRow;

use crate::limits;
use crate::log::sqlite::{self, before_commit};
use crate::meter::books::Books;
use crate::meter::counter::day_of;
use crate::meter::sql::{self, words};
use crate::sql::{Statement, run, statement, vanished};

use verbs::{Change, Reserve, Settle, Single, Sweep, Write, fitting};

/// Books in the embedded database.
pub(super) struct Sqlite {
    store: sqlite::Sqlite,
}

impl Sqlite {
    pub(super) const fn new(store: sqlite::Sqlite) -> Self {
        Self { store }
    }

    async fn rows(&self, asked: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        let read = |pool: sqlx::SqlitePool| async move {
            let mut db = pool.acquire().await.map_err(|error| before_commit(&error))?;
            run(&mut db, asked).await.map_err(|error| before_commit(&error))
        };
        self.store.read(read).await
    }

    fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    fn today(&self) -> i64 {
        day_of(self.now())
    }
}

#[async_trait]
impl Books for Sqlite {
    async fn covered(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<BudgetScope>, StoreError> {
        let rows = self.rows(words::covered(workspace, limit)).await?;
        rows.iter().map(sql::scope).collect()
    }

    async fn reserve(
        &self,
        id: ReservationId,
        payer: &Payer,
        estimate: Amounts,
        deadline_millis: u64,
    ) -> Result<Reserved, ReserveError> {
        let verb = Reserve {
            id,
            payer: *payer,
            estimate,
            deadline_millis,
        };
        self.store.ask(verb).await
    }

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError> {
        self.store.ask(Settle { workspace, id, actual }).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        // Most sweeps find nothing: they take no turn of the writer's.
        let now = self.now();
        let late = statement("SELECT 1 AS late FROM reservations WHERE deadline <= ? LIMIT 1").time(now);
        if self.rows(late).await?.is_empty() && self.rows(fitting(now)).await?.is_empty() {
            return Ok(Swept::default());
        }
        self.store.ask(Sweep).await
    }

    async fn write(&self, traces: &[Trace]) -> Result<(), StoreError> {
        self.store.ask(Write(traces.to_vec())).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let rows = self.rows(words::usage(&query)).await?;
        rows.iter().map(|row| sql::usage(row, query.by)).collect()
    }

    async fn traces(&self, query: TraceQuery) -> Result<Vec<Trace>, StoreError> {
        let rows = self.rows(words::traces(&query)).await?;
        rows.iter().map(sql::trace).collect()
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        for words in [words::prune_traces, words::prune_keys] {
            loop {
                let statement = words(before, limits::METER_SWEEP).sql(" RETURNING id");
                let (rows, _) = self.store.ask(Single { statement, then: None }).await?;
                gone += rows.len() as u64;
                if rows.len() < limits::METER_SWEEP as usize {
                    break;
                }
            }
        }
        Ok(gone)
    }

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError> {
        let verb = Single {
            statement: words::add_budget(&budget, self.now()),
            then: Some(words::budget(budget.workspace, budget.id)),
        };
        let (_, rows) = self.store.ask(verb).await?;
        let row = rows.first().ok_or_else(vanished)?;
        sql::budget(row, self.today())
    }

    async fn budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        let rows = self.rows(words::budget(workspace, id)).await?;
        rows.first().map(|row| sql::budget(row, self.today())).transpose()
    }

    async fn budgets(&self, listing: MeterListing<BudgetId>) -> Result<Vec<Budget>, StoreError> {
        let rows = self.rows(words::budgets(&listing)).await?;
        rows.iter().map(|row| sql::budget(row, self.today())).collect()
    }

    async fn change_budget(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<Option<Budget>, StoreError> {
        let change = Some(change);
        self.store.ask(Change { workspace, id, change }).await
    }

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError> {
        let change = None;
        let gone = self.store.ask(Change { workspace, id, change }).await?;
        Ok(gone.is_some())
    }

    async fn add_key(
        &self,
        id: GatewayKeyId,
        hash: VirtualKeyHash,
        key: NewGatewayKey,
    ) -> Result<(GatewayKey, bool), StoreError> {
        let verb = Single {
            statement: words::add_key(id, hash, &key, self.now()).sql(" RETURNING id"),
            then: Some(words::key(id)),
        };
        let (fresh, rows) = self.store.ask(verb).await?;
        let row = rows.first().ok_or_else(vanished)?;
        Ok((sql::key(row)?, !fresh.is_empty()))
    }

    async fn key(&self, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        let rows = self.rows(words::key(id)).await?;
        rows.first().map(sql::key).transpose()
    }

    async fn keys(&self, listing: MeterListing<GatewayKeyId>) -> Result<Vec<GatewayKey>, StoreError> {
        let rows = self.rows(words::keys(&listing)).await?;
        rows.iter().map(sql::key).collect()
    }

    async fn revoke(&self, workspace: WorkspaceId, id: GatewayKeyId) -> Result<Option<GatewayKey>, StoreError> {
        let verb = Single {
            statement: words::revoke(workspace, id, self.now()).sql(" RETURNING id"),
            then: Some(words::key(id)),
        };
        let (changed, rows) = self.store.ask(verb).await?;
        let found = rows.first().filter(|_| !changed.is_empty());
        found.map(sql::key).transpose()
    }
}
