//! The meter in the embedded database: its changes are members of the one writer's transactions. A place in a budget promises
//! nothing beyond a power loss, like a lease: the next append's sync carries it along.

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetScope, GatewayKey, MeterListing, NewBudget, NewGatewayKey, Payer,
    ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKeyHash, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection, query};
use uuid::Uuid;

use super::books::Books;
use super::counter::{self, Counter, day_of};
use super::sql::{self, Columns, Statement, Value, statement, words};
use crate::limits;
use crate::log::sqlite::{self, Halt, Verb, before_commit, refuse};

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

/// Runs a statement.
async fn run(db: &mut SqliteConnection, asked: Statement) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let query = query(AssertSqlSafe(asked.sql));
    let filled = asked.values.into_iter().fold(query, |query, value| match value {
        Value::Id(id) => query.bind(id),
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    });
    filled.fetch_all(db).await
}

/// Sets aside in every budget of a payer, or in none.
struct Reserve {
    id: ReservationId,
    payer: Payer,
    estimate: Amounts,
    deadline_millis: u64,
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
struct Settle {
    workspace: WorkspaceId,
    id: ReservationId,
    actual: Amounts,
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
struct Sweep;

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
fn fitting(now: Timestamp) -> Statement {
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
struct Change {
    workspace: WorkspaceId,
    id: BudgetId,
    /// None removes it.
    change: Option<BudgetChange>,
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
struct Write(Vec<Trace>);

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
struct Single {
    statement: Statement,
    /// Asked afterwards.
    then: Option<Statement>,
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
        let row = rows.first().ok_or_else(sql::vanished)?;
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
        let row = rows.first().ok_or_else(sql::vanished)?;
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
