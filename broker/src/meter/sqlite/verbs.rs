//! The meter's members of the one writer's transactions.

use async_trait::async_trait;
use perennial_engine::ports::{Amounts, Budget, BudgetChange, Payer, ReserveError, Reserved, StoreError, Swept, Trace};
use perennial_schema::{BudgetId, ReservationId, Timestamp, WorkspaceId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::limits;
use crate::log::sqlite::{Halt, Verb, refuse};
use crate::meter::counter::{self, Counter, day_of};
use crate::meter::sql::{self, words};
use crate::sql::{Columns, Statement, run, statement};

/// Sets aside in every budget of a payer, or in none.
pub(super) struct Reserve {
    pub(super) id: ReservationId,
    pub(super) payer: Payer,
    pub(super) estimate: Amounts,
    pub(super) deadline_millis: u64,
}

#[async_trait]
impl Verb for Reserve {
    type Answer = Reserved;
    type Refusal = ReserveError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Reserved, Halt<ReserveError>> {
        let workspace = self.payer.workspace.uuid();
        let mut asked = words::budgets_of(self.payer.workspace);
        for (n, target) in counter::targets(&self.payer).into_iter().enumerate() {
            asked = asked.sql(if n == 0 { "?" } else { ", ?" }).id(target);
        }
        let rows = run(db, asked.sql(")")).await?;
        let today = day_of(now);
        let mut mine: Vec<Counter> = rows
            .iter()
            .map(|row| sql::counter(row).map(|counter| counter.on(today)))
            .collect::<Result<_, _>>()
            .map_err(refuse)?;
        let known = statement("SELECT 1 AS known FROM reservations WHERE id = ? AND workspace_id = ? LIMIT 1")
            .id(self.id.uuid())
            .id(workspace);
        if mine.is_empty() || !run(db, known).await?.is_empty() {
            return Ok(Reserved {
                counted: !mine.is_empty(),
                warnings: Vec::new(),
            });
        }
        if let Some(short) = mine
            .iter()
            .find(|counter| counter.need(self.estimate) > counter.budget.room())
        {
            return Err(Halt::Refused(ReserveError::Exhausted {
                need: short.need(self.estimate),
                budget: Box::new(short.budget.clone()),
            }));
        }
        let mut warnings = Vec::new();
        for counter in &mut mine {
            let need = counter.need(self.estimate);
            if counter.take(need) {
                warnings.push(counter.budget.clone());
            }
            store(db, counter).await?;
            let noted = statement(
                "INSERT INTO reservations (workspace_id, id, budget_id, day, amount, deadline) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .id(workspace)
            .id(self.id.uuid())
            .id(counter.budget.id.uuid())
            .number(counter.day)
            .amount(need)
            .time(now.plus_millis(self.deadline_millis));
            run(db, noted).await?;
        }
        Ok(Reserved {
            counted: true,
            warnings,
        })
    }
}

/// Writes back what a budget counts.
async fn store(db: &mut SqliteConnection, counter: &Counter) -> Result<(), sqlx::Error> {
    let budget = &counter.budget;
    let stored =
        statement("UPDATE budgets SET day = ?, used = ?, reserved = ?, warned = ? WHERE workspace_id = ? AND id = ?")
            .number(counter.day)
            .amount(budget.used)
            .amount(budget.reserved)
            .flag(counter.warned)
            .id(budget.workspace.uuid())
            .id(budget.id.uuid());
    run(db, stored).await.map(|_| ())
}

/// Ends a reservation: counts what was used, or what was reserved.
pub(super) struct Settle {
    pub(super) workspace: WorkspaceId,
    pub(super) id: ReservationId,
    pub(super) actual: Amounts,
}

#[async_trait]
impl Verb for Settle {
    type Answer = ();
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, _now: Timestamp) -> Result<(), Halt<StoreError>> {
        settle(db, self.workspace.uuid(), self.id.uuid(), Some(self.actual)).await
    }
}

async fn settle(
    db: &mut SqliteConnection,
    workspace: Uuid,
    id: Uuid,
    actual: Option<Amounts>,
) -> Result<(), Halt<StoreError>> {
    let gone = statement("DELETE FROM reservations WHERE id = ? AND workspace_id = ? RETURNING budget_id, day, amount")
        .id(id)
        .id(workspace);
    for row in run(db, gone).await? {
        let of = BudgetId::from_uuid(row.id("budget_id").map_err(refuse)?);
        let found = run(db, words::budget(WorkspaceId::from_uuid(workspace), of)).await?;
        let Some(found) = found.first() else { continue };
        let mut counter = sql::counter(found).map_err(refuse)?;
        let amount = row.amount("amount").map_err(refuse)?;
        let used = actual.map_or(amount, |actual| actual.of(counter.budget.metric));
        counter.settle(row.number("day").map_err(refuse)?, amount, used);
        store(db, &counter).await?;
    }
    Ok(())
}

/// Ends what is late, and readies who may go on.
pub(super) struct Sweep;

#[async_trait]
impl Verb for Sweep {
    type Answer = Swept;
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Swept, Halt<StoreError>> {
        let late = statement("SELECT DISTINCT workspace_id, id FROM reservations WHERE deadline <= ? LIMIT ?")
            .time(now)
            .number(i64::from(limits::METER_SWEEP));
        let late = run(db, late).await?;
        for row in &late {
            let (workspace, id) = (row.id("workspace_id").map_err(refuse)?, row.id("id").map_err(refuse)?);
            settle(db, workspace, id, None).await?;
        }
        let readied = run(db, fitting(now)).await?;
        let mut count = 0;
        for row in &readied {
            count += ready(
                db,
                statement("number = ?").number(row.number("number").map_err(refuse)?),
                now,
            )
            .await?;
        }
        Ok(Swept {
            expired: late.len() as u64,
            readied: count,
        })
    }
}

/// Sessions that rest for a budget that is gone or has room for them; small needs first, and no more than fit together.
pub(super) fn fitting(now: Timestamp) -> Statement {
    let today = day_of(now);
    statement(
        "SELECT number FROM (SELECT s.number, b.id AS budget, b.ceiling \
            - CASE WHEN b.period = 'day' AND b.day <> ? THEN 0 ELSE b.used + b.reserved END AS room, \
            sum(max(s.budget_need, 1)) OVER (PARTITION BY s.workspace_id, s.budget_hold ORDER BY s.budget_need, s.number) AS needed \
         FROM sessions s LEFT JOIN budgets b ON b.workspace_id = s.workspace_id AND b.id = s.budget_hold \
         WHERE s.budget_hold IS NOT NULL AND s.owner IS NULL AND (s.ready_at IS NULL OR s.ready_at > ?) \
            AND s.quarantined = 0 AND s.archived_at IS NULL AND s.deleted_at IS NULL) \
         WHERE budget IS NULL OR needed <= room LIMIT ?",
    )
    .number(today)
    .time(now)
    .number(i64::from(limits::METER_SWEEP))
}

/// Readies sessions that rest for a budget; how many.
async fn ready(db: &mut SqliteConnection, which: Statement, now: Timestamp) -> Result<u64, sqlx::Error> {
    let mut readied = statement(
        "UPDATE sessions SET ready_at = min(coalesce(ready_at, ?), ?), budget_hold = NULL, budget_need = NULL, \
            changed = (SELECT coalesce(max(o.changed), 0) + 1 FROM sessions o WHERE o.workspace_id = sessions.workspace_id) \
         WHERE budget_hold IS NOT NULL AND quarantined = 0 AND ",
    )
    .time(now)
    .time(now)
    .sql(&which.sql);
    readied.values.extend(which.values);
    let rows = run(db, readied.sql(" RETURNING number")).await?;
    Ok(rows.len() as u64)
}

fn held_by(workspace: WorkspaceId, id: BudgetId) -> Statement {
    statement("workspace_id = ? AND budget_hold = ?")
        .id(workspace.uuid())
        .id(id.uuid())
}

/// Changes a budget or removes it, and readies whom it holds.
pub(super) struct Change {
    pub(super) workspace: WorkspaceId,
    pub(super) id: BudgetId,
    /// None removes it.
    pub(super) change: Option<BudgetChange>,
}

#[async_trait]
impl Verb for Change {
    type Answer = Option<Budget>;
    type Refusal = StoreError;

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Option<Budget>, Halt<StoreError>> {
        let found = run(db, words::budget(self.workspace, self.id)).await?;
        let Some(found) = found.first() else { return Ok(None) };
        let mut counter = sql::counter(found).map_err(refuse)?;
        match self.change {
            Some(change) => {
                counter.change(change);
                let budget = &counter.budget;
                let changed = statement("UPDATE budgets SET ceiling = ?, warn_percent = ?, warned = ?")
                    .amount(budget.limit)
                    .maybe_amount(budget.warn_percent.map(u64::from))
                    .flag(counter.warned);
                run(db, words::where_budget(changed, self.workspace, self.id)).await?;
            }
            None => {
                let gone = statement("DELETE FROM budgets");
                run(db, words::where_budget(gone, self.workspace, self.id)).await?;
            }
        }
        ready(db, held_by(self.workspace, self.id), now).await?;
        Ok(Some(counter.on(day_of(now)).budget))
    }
}

/// Adds traces and their sums.
pub(super) struct Write(pub(super) Vec<Trace>);

#[async_trait]
impl Verb for Write {
    type Answer = ();
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, _now: Timestamp) -> Result<(), Halt<StoreError>> {
        for trace in &self.0 {
            let places = ", ?".repeat(words::TRACE.split(',').count());
            let add = format!(
                "INSERT OR IGNORE INTO traces ({}) VALUES ({}) RETURNING id",
                words::TRACE,
                places.trim_start_matches(", ")
            );
            let added = run(db, words::trace_values(statement(add), trace)).await?;
            if !added.is_empty() {
                run(db, words::add_sum(trace)).await?;
            }
        }
        Ok(())
    }
}

/// One statement, and what it answers.
pub(super) struct Single {
    pub(super) statement: Statement,
    /// Asked afterwards.
    pub(super) then: Option<Statement>,
}

#[async_trait]
impl Verb for Single {
    type Answer = (Vec<SqliteRow>, Vec<SqliteRow>);
    type Refusal = StoreError;

    async fn run(&self, db: &mut SqliteConnection, _now: Timestamp) -> Result<Self::Answer, Halt<StoreError>> {
        let first = run(db, self.statement.clone()).await?;
        let second = match &self.then {
            Some(then) => run(db, then.clone()).await?,
            None => Vec::new(),
        };
        Ok((first, second))
    }
}
