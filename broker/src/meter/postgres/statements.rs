//! The meter's statements. Each begins with the clock, and locks what it takes of in the order of ids.

use perennial_engine::ports::{Amounts, BudgetChange, BudgetMetric, Payer, Trace};
use uuid::Uuid;

use crate::limits::{self, MOST};
use crate::log::postgres::Script;
use crate::meter::counter;
use crate::meter::sql::words;
use crate::sql::{script, statement};

/// What follows the clock: its microseconds and its day.
pub(super) const TICK: &str = ", tick AS MATERIALIZED (SELECT t.micros, t.micros / 86400000000 AS day FROM
    (SELECT (extract(epoch FROM now) * 1000000)::bigint AS micros FROM clock) t)";

/// The columns of a budget, of a table called `m`.
pub(super) const BUDGET: &str =
    "m.workspace_id, m.id, m.scope, m.target, m.metric, m.period, m.ceiling, m.used, m.reserved, m.day,
    m.warn_percent, m.warned, m.created_at";

pub(super) fn integer(amount: u64) -> i64 {
    i64::try_from(amount.min(MOST)).unwrap_or(i64::MAX)
}

/// The amount of a budget's metric.
pub(super) fn of_metric(script: &mut Script, table: &str, amounts: Amounts) {
    script.sql("CASE ").sql(table).sql(".metric WHEN 'requests' THEN ");
    script.bind(integer(amounts.of(BudgetMetric::Requests)));
    script.sql("::bigint WHEN 'tokens' THEN ");
    script.bind(integer(amounts.of(BudgetMetric::Tokens)));
    script.sql("::bigint ELSE ");
    script.bind(integer(amounts.of(BudgetMetric::Money)));
    script.sql("::bigint END");
}

pub(super) fn reserve(script: &mut Script, id: Uuid, payer: &Payer, estimate: Amounts, deadline_millis: u64) {
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

pub(super) fn settle(script: &mut Script, workspace: Uuid, id: Uuid, actual: Amounts) {
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
pub(super) fn expire(script: &mut Script) {
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
pub(super) const READY: &str =
    ", readied AS (UPDATE sessions s SET ready_at = least(s.ready_at, c.now), budget_hold = NULL,
        budget_need = NULL, revision = s.revision + 1, changed = pg_current_xact_id()
     FROM freed f, clock c WHERE s.number = f.number AND s.budget_hold IS NOT NULL RETURNING s.number)";

/// Readies sessions that rest for a budget that is gone or has room for them; small needs first, and no more than fit together.
pub(super) fn free(script: &mut Script) {
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
pub(super) fn change(script: &mut Script, workspace: Uuid, id: Uuid, change: Option<BudgetChange>) {
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
pub(super) fn write(traces: &[Trace]) -> Script {
    let places = format!("({})", vec!["?"; words::TRACE.split(',').count()].join(", "));
    let rows = vec![places; traces.len()].join(", ");
    let mut asked = statement(format!(
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
