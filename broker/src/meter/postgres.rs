//! The meter in the shared database: every change is one statement that commits by itself. Whoever takes of a budget locks its
//! row first, in the order of ids, and decides on what it finds under the lock; so any number of processes together never
//! admit more than there is.

use async_trait::async_trait;
use perennial_engine::ports::{
    Amounts, Budget, BudgetChange, BudgetMetric, BudgetScope, Clock as _, GatewayKey, MeterListing, NewBudget,
    NewGatewayKey, Payer, ReserveError, Reserved, StoreError, Swept, Trace, TraceQuery, UsageQuery, UsageRow,
};
use perennial_schema::{BudgetId, GatewayKeyId, ReservationId, Timestamp, VirtualKeyHash, WorkspaceId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::books::Books;
use super::counter::{self, MOST, day_of};
use super::sql::{self, Columns, Statement, Value, words};
use crate::clock::System;
use crate::limits;
use crate::log::postgres::{self, Desk, Script, Time};

/// Books in the shared database.
pub(super) struct Postgres {
    desk: Desk,
    time: Time,
}

/// What follows the clock: its microseconds and its day.
const TICK: &str = ", tick AS MATERIALIZED (SELECT t.micros, t.micros / 86400000000 AS day FROM
    (SELECT (extract(epoch FROM now) * 1000000)::bigint AS micros FROM clock) t)";

/// The columns of a budget, of a table called `m`.
const BUDGET: &str =
    "m.workspace_id, m.id, m.scope, m.target, m.metric, m.period, m.ceiling, m.used, m.reserved, m.day,
    m.warn_percent, m.warned, m.created_at";

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

/// A statement in Postgres' words.
fn script(asked: &Statement) -> Script {
    let mut pieces = asked.sql.split('?');
    let mut script = Script::new(pieces.next().unwrap_or_default());
    for (piece, value) in pieces.zip(&asked.values) {
        match value {
            Value::Id(id) => script.bind(*id),
            Value::Number(number) => script.bind(*number),
            Value::Text(text) => script.bind(text.clone()),
            Value::Flag(flag) => script.bind(*flag),
            Value::Bytes(bytes) => script.bind(bytes.clone()),
        };
        script.sql(piece);
    }
    script
}

fn integer(amount: u64) -> i64 {
    i64::try_from(amount.min(MOST)).unwrap_or(i64::MAX)
}

/// The amount of a budget's metric.
fn of_metric(script: &mut Script, table: &str, amounts: Amounts) {
    script.sql("CASE ").sql(table).sql(".metric WHEN 'requests' THEN ");
    script.bind(integer(amounts.of(BudgetMetric::Requests)));
    script.sql("::bigint WHEN 'tokens' THEN ");
    script.bind(integer(amounts.of(BudgetMetric::Tokens)));
    script.sql("::bigint ELSE ");
    script.bind(integer(amounts.of(BudgetMetric::Money)));
    script.sql("::bigint END");
}

fn reserve(script: &mut Script, id: Uuid, payer: &Payer, estimate: Amounts, deadline_millis: u64) {
    let workspace = payer.workspace.uuid();
    script
        .sql(", known AS MATERIALIZED (SELECT FROM reservations WHERE id = ")
        .bind(id)
        .sql(" AND workspace_id = ")
        .bind(workspace)
        .sql(
            " LIMIT 1), mine AS MATERIALIZED (SELECT b.*,
                CASE b.period WHEN 'day' THEN (SELECT day FROM tick) ELSE 0 END AS today,
                CASE WHEN b.period = 'day' AND b.day <> (SELECT day FROM tick) THEN 0 ELSE b.used END AS used_now,
                CASE WHEN b.period = 'day' AND b.day <> (SELECT day FROM tick) THEN 0 ELSE b.reserved END AS reserved_now,
                b.warned AND NOT (b.period = 'day' AND b.day <> (SELECT day FROM tick)) AS warned_now, ",
        );
    of_metric(script, "b", estimate);
    script
        .sql(" AS need FROM budgets b WHERE b.workspace_id = ")
        .bind(workspace)
        .sql(" AND b.target = ANY(")
        .bind(counter::targets(payer))
        .sql(
            "::uuid[]) ORDER BY b.id FOR UPDATE),
             short AS (SELECT id FROM mine WHERE used_now + reserved_now + need > ceiling AND NOT EXISTS (SELECT FROM known)),
             taken AS (UPDATE budgets b SET day = m.today, used = m.used_now, reserved = m.reserved_now + m.need,
                warned = m.warned_now OR coalesce((m.used_now + m.reserved_now + m.need)::numeric * 100
                    >= m.ceiling::numeric * m.warn_percent, false)
                FROM mine m WHERE b.workspace_id = m.workspace_id AND b.id = m.id
                    AND NOT EXISTS (SELECT FROM short) AND NOT EXISTS (SELECT FROM known)
                RETURNING b.id, b.used, b.reserved, b.day, b.warned AND NOT m.warned_now AS crossed, m.need),
             noted AS (INSERT INTO reservations (day, amount, deadline, workspace_id, id, budget_id)
                SELECT t.day, t.need, k.micros + ",
        )
        .bind(i64::try_from(deadline_millis.saturating_mul(1000)).unwrap_or(i64::MAX / 2))
        .sql("::bigint, ")
        .bind(workspace)
        .comma(id)
        .sql(", t.id FROM taken t, tick k) SELECT m.need, k.day AS tick_day, ")
        .sql(&BUDGET.replace("m.used, m.reserved, m.day", "coalesce(t.used, m.used) AS used, \
            coalesce(t.reserved, m.reserved) AS reserved, coalesce(t.day, m.day) AS day"))
        .sql(
            ", EXISTS (SELECT FROM short s WHERE s.id = m.id) AS short, coalesce(t.crossed, false) AS crossed
             FROM mine m LEFT JOIN taken t ON t.id = m.id CROSS JOIN tick k ORDER BY m.id",
        );
}

fn settle(script: &mut Script, workspace: Uuid, id: Uuid, actual: Amounts) {
    script
        .sql(", gone AS (DELETE FROM reservations r WHERE r.id = ")
        .bind(id)
        .sql(" AND r.workspace_id = ")
        .bind(workspace)
        .sql(
            " RETURNING r.workspace_id, r.budget_id, r.day, r.amount),
             mine AS MATERIALIZED (SELECT b.workspace_id, b.id, g.day, g.amount FROM gone g
                JOIN budgets b ON b.workspace_id = g.workspace_id AND b.id = g.budget_id ORDER BY b.id FOR UPDATE OF b)
             UPDATE budgets b SET reserved = greatest(b.reserved - m.amount, 0), used = b.used + ",
        );
    of_metric(script, "b", actual);
    script.sql(" FROM mine m WHERE b.workspace_id = m.workspace_id AND b.id = m.id AND b.day = m.day");
}

/// Ends reservations that are late, as reserved. Whoever settles one now waits and finds it gone.
fn expire(script: &mut Script) {
    script
        .sql(
            ", late AS MATERIALIZED (SELECT r.id, r.budget_id FROM reservations r WHERE r.deadline <= (SELECT micros FROM tick)
                ORDER BY r.id, r.budget_id LIMIT ",
        )
        .bind(i64::from(limits::METER_SWEEP))
        .sql(
            " FOR UPDATE SKIP LOCKED),
             gone AS (DELETE FROM reservations r USING late l WHERE r.id = l.id AND r.budget_id = l.budget_id
                RETURNING r.workspace_id, r.id, r.budget_id, r.day, r.amount),
             sums AS (SELECT workspace_id, budget_id, day, sum(amount)::bigint AS amount FROM gone
                GROUP BY workspace_id, budget_id, day),
             mine AS MATERIALIZED (SELECT b.workspace_id, b.id, s.day, s.amount FROM sums s
                JOIN budgets b ON b.workspace_id = s.workspace_id AND b.id = s.budget_id ORDER BY b.id FOR UPDATE OF b),
             counted AS (UPDATE budgets b SET reserved = greatest(b.reserved - m.amount, 0), used = b.used + m.amount
                FROM mine m WHERE b.workspace_id = m.workspace_id AND b.id = m.id AND b.day = m.day)
             SELECT count(DISTINCT id) AS expired, count(*) AS rows FROM gone",
        );
}

/// What readying does to a session's row, of the numbers in `freed`.
const READY: &str = ", readied AS (UPDATE sessions s SET ready_at = least(s.ready_at, c.now), budget_hold = NULL,
        budget_need = NULL, revision = s.revision + 1, changed = pg_current_xact_id()
     FROM freed f, clock c WHERE s.number = f.number AND s.budget_hold IS NOT NULL RETURNING s.number)";

/// Readies sessions that rest for a budget that is gone or has room for them; small needs first, and no more than fit together.
fn free(script: &mut Script) {
    script.sql(
        ", held AS MATERIALIZED (SELECT s.number, b.id AS budget, b.ceiling - CASE WHEN b.period = 'day'
                AND b.day <> (SELECT day FROM tick) THEN 0 ELSE b.used + b.reserved END AS room,
                sum(greatest(s.budget_need, 1)) OVER (PARTITION BY s.workspace_id, s.budget_hold
                    ORDER BY s.budget_need, s.number) AS needed
             FROM sessions s LEFT JOIN budgets b ON b.workspace_id = s.workspace_id AND b.id = s.budget_hold
             WHERE s.budget_hold IS NOT NULL AND s.owner IS NULL
                AND (s.ready_at IS NULL OR s.ready_at > (SELECT now FROM clock))
                AND NOT s.quarantined AND s.archived_at IS NULL AND s.deleted_at IS NULL),
         fitting AS MATERIALIZED (SELECT number FROM held WHERE budget IS NULL OR needed <= room LIMIT ",
    );
    script.bind(i64::from(limits::METER_SWEEP)).sql(
        "), freed AS MATERIALIZED (SELECT s.number FROM sessions s WHERE s.number IN (SELECT number FROM fitting)
            AND s.budget_hold IS NOT NULL AND s.owner IS NULL ORDER BY s.number FOR UPDATE SKIP LOCKED)",
    );
    script.sql(READY).sql(" SELECT count(*) AS readied FROM readied");
}

/// Changes a budget or removes it, and readies whom it holds.
fn change(script: &mut Script, workspace: Uuid, id: Uuid, change: Option<BudgetChange>) {
    script.sql(", m AS (");
    match change {
        Some(change) => {
            script.sql("UPDATE budgets b SET warned = false");
            if let Some(limit) = change.limit {
                script.sql(", ceiling = ").bind(integer(limit));
            }
            if let Some(percent) = change.warn_percent {
                script.sql(", warn_percent = ").bind(percent.map(i64::from));
            }
        }
        None => {
            script.sql("DELETE FROM budgets b");
        }
    }
    script
        .sql(" WHERE b.workspace_id = ")
        .bind(workspace)
        .sql(" AND b.id = ")
        .bind(id)
        .sql(" RETURNING b.*), freed AS MATERIALIZED (SELECT s.number FROM sessions s WHERE s.workspace_id = ")
        .bind(workspace)
        .sql(" AND s.budget_hold = ")
        .bind(id)
        .sql(" AND NOT s.quarantined AND EXISTS (SELECT FROM m) ORDER BY s.number FOR UPDATE)")
        .sql(READY)
        .sql(" SELECT ")
        .sql(BUDGET)
        .sql(", k.day AS tick_day, (SELECT count(*) FROM readied) AS readied FROM m CROSS JOIN tick k");
}

/// Adds traces, and the sums of those that are new. Sums are written in the order of their keys, so that two writers wait for
/// each other and not in a ring.
fn write(traces: &[Trace]) -> Script {
    let places = format!("({})", vec!["?"; words::TRACE.split(',').count()].join(", "));
    let rows = vec![places; traces.len()].join(", ");
    let mut asked = sql::statement(format!(
        "WITH fresh AS (INSERT INTO traces ({}) VALUES {rows} ON CONFLICT (id) DO NOTHING RETURNING *),
         cells AS (SELECT workspace_id, at / 86400000000 AS day,
            coalesce(session_id, '00000000-0000-0000-0000-000000000000'::uuid) AS session_id,
            coalesce(agent_id, '00000000-0000-0000-0000-000000000000'::uuid) AS agent_id, model, error, input_tokens,
            output_tokens, cache_creation_input_tokens, cache_read_input_tokens, microusd FROM fresh)
         INSERT INTO usage_days ({}) SELECT workspace_id, day, session_id, agent_id, model, count(*),
            count(*) FILTER (WHERE error IS NOT NULL), sum(input_tokens)::bigint, sum(output_tokens)::bigint,
            sum(cache_creation_input_tokens)::bigint, sum(cache_read_input_tokens)::bigint, sum(microusd)::bigint
         FROM cells GROUP BY workspace_id, day, session_id, agent_id, model
         ORDER BY workspace_id, day, session_id, agent_id, model{}",
        words::TRACE,
        words::SUM,
        words::ADD_UP,
    ));
    for trace in traces {
        asked = words::trace_values(asked, trace);
    }
    script(&asked)
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
        made.ok_or_else(sql::vanished)
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
        let made = self.key(id).await?.ok_or_else(sql::vanished)?;
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
