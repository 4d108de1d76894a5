//! The meter in the shared database: every change is one statement that commits by itself. Whoever takes of a budget locks its
//! row first, in the order of ids, and decides on what it finds under the lock; so any number of processes together never
//! admit more than there is.

mod statements;

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetScope, Clock as _, GatewayKey, MeterListing, NewBudget, NewGatewayKey, Payer,
    ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKeyHash, WorkspaceId};
use sqlx::postgres::PgRow;

use crate::clock::System;
use crate::limits;
use crate::log::postgres::{self, Desk, Script, Time};
use crate::meter::books::Books;
use crate::meter::counter::day_of;
use crate::meter::sql::{self, words};
use crate::sql::{Columns, Statement, script, vanished};

use statements::{TICK, change, expire, free, reserve, settle, write};

/// Books in the shared database.
pub(super) struct Postgres {
    desk: Desk,
    time: Time,
}

impl Postgres {
    pub(super) fn new(store: &postgres::Postgres) -> Self {
        let (desk, time) = store.meter();
        Self { desk, time }
    }

    /// The time of what is only looked at or stamped; what is counted goes by the database's clock.
    fn now(&self) -> Timestamp {
        self.time.given().map_or_else(|| System.now(), Timestamp::from)
    }

    fn today(&self) -> i64 {
        day_of(self.now())
    }

    async fn rows(&self, asked: Statement) -> Result<Vec<PgRow>, StoreError> {
        self.desk.ask(move || script(&asked)).await
    }

    /// Asks with a statement that begins with the clock.
    async fn timed(&self, make: impl Fn(&mut Script) + Send + Sync + 'static) -> Result<Vec<PgRow>, StoreError> {
        let time = self.time.clone();
        let make = move || {
            let mut script = time.script();
            script.sql(TICK);
            make(&mut script);
            script
        };
        self.desk.ask(make).await
    }
}

#[async_trait]
impl Books for Postgres {
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
        let (id, payer) = (id.uuid(), *payer);
        let make = move |script: &mut Script| reserve(script, id, &payer, estimate, deadline_millis);
        let rows = self.timed(make).await?;
        let mut warnings = Vec::new();
        for row in &rows {
            let budget = sql::budget(row, row.number("tick_day")?)?;
            if row.flag("short")? {
                return Err(ReserveError::Exhausted {
                    need: row.amount("need")?,
                    budget: Box::new(budget),
                });
            }
            if row.flag("crossed")? {
                warnings.push(budget);
            }
        }
        Ok(Reserved {
            counted: !rows.is_empty(),
            warnings,
        })
    }

    async fn settle(&self, workspace: WorkspaceId, id: ReservationId, actual: Amounts) -> Result<(), StoreError> {
        let (workspace, id) = (workspace.uuid(), id.uuid());
        let make = move |script: &mut Script| settle(script, workspace, id, actual);
        self.timed(make).await.map(|_| ())
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        loop {
            let rows = self.timed(expire).await?;
            let Some(row) = rows.first() else { break };
            swept.expired += row.amount("expired")?;
            if row.amount("rows")? < u64::from(limits::METER_SWEEP) {
                break;
            }
        }
        let rows = self.timed(free).await?;
        swept.readied = rows.first().map_or(Ok(0), |row| row.amount("readied"))?;
        Ok(swept)
    }

    async fn write(&self, traces: &[Trace]) -> Result<(), StoreError> {
        let traces = traces.to_vec();
        self.desk.ask(move || write(&traces)).await.map(|_| ())
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
                let rows = self
                    .rows(words(before, limits::METER_SWEEP).sql(" RETURNING id"))
                    .await?;
                gone += rows.len() as u64;
                if rows.len() < limits::METER_SWEEP as usize {
                    break;
                }
            }
        }
        Ok(gone)
    }

    async fn create_budget(&self, budget: NewBudget) -> Result<Budget, StoreError> {
        self.rows(words::add_budget(&budget, self.now())).await?;
        let made = self.budget(budget.workspace, budget.id).await?;
        made.ok_or_else(vanished)
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
        how: BudgetChange,
    ) -> Result<Option<Budget>, StoreError> {
        let (workspace, id) = (workspace.uuid(), id.uuid());
        let make = move |script: &mut Script| change(script, workspace, id, Some(how));
        let rows = self.timed(make).await?;
        let budget = |row: &PgRow| sql::budget(row, row.number("tick_day")?);
        rows.first().map(budget).transpose()
    }

    async fn delete_budget(&self, workspace: WorkspaceId, id: BudgetId) -> Result<bool, StoreError> {
        let (workspace, id) = (workspace.uuid(), id.uuid());
        let make = move |script: &mut Script| change(script, workspace, id, None);
        let rows = self.timed(make).await?;
        Ok(!rows.is_empty())
    }

    async fn add_key(
        &self,
        id: GatewayKeyId,
        hash: VirtualKeyHash,
        key: NewGatewayKey,
    ) -> Result<(GatewayKey, bool), StoreError> {
        self.rows(words::add_key(id, hash, &key, self.now())).await?;
        let made = self.key(id).await?.ok_or_else(vanished)?;
        // Asked twice over a broken connection, the first may have done it: the hash tells whose it is.
        let fresh = made.hash == hash;
        Ok((made, fresh))
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
        let changed = self
            .rows(words::revoke(workspace, id, self.now()).sql(" RETURNING id"))
            .await?;
        match changed.is_empty() {
            true => Ok(None),
            false => self.key(id).await,
        }
    }
}
