//! Questions and single-row changes that are the same words for both databases.

use perennial_engine::ports::{
    GatewayKeyKind, MeterListing, NewBudget, NewGatewayKey, Trace, TraceQuery, UsageBy, UsageQuery,
};
use perennial_schema::{BudgetId, GatewayKeyId, SessionId, Timestamp, VirtualKeyHash, WorkspaceId};
use uuid::Uuid;

use crate::meter::counter::{day_of, metric_name, period_name, scope_name, target};
use crate::sql::{Statement, statement};

/// Before every page.
const LATEST: i64 = i64::MAX;

pub(in crate::meter) fn covered(workspace: WorkspaceId, limit: u32) -> Statement {
    statement("SELECT DISTINCT scope, target FROM budgets WHERE workspace_id = ?")
        .id(workspace.uuid())
        .sql(" LIMIT ?")
        .number(i64::from(limit) + 1)
}

const BUDGET: &str = "SELECT workspace_id, id, scope, target, metric, period, ceiling, used, reserved, day, warn_percent, warned, \
                      created_at FROM budgets WHERE workspace_id = ?";

pub(in crate::meter) fn budget(workspace: WorkspaceId, id: BudgetId) -> Statement {
    statement(BUDGET).id(workspace.uuid()).sql(" AND id = ?").id(id.uuid())
}

/// To be followed by targets and a parenthesis.
pub(in crate::meter) fn budgets_of(workspace: WorkspaceId) -> Statement {
    statement(BUDGET).id(workspace.uuid()).sql(" AND target IN (")
}

/// Ends a change of one budget.
pub(in crate::meter) fn where_budget(change: Statement, workspace: WorkspaceId, id: BudgetId) -> Statement {
    change
        .sql(" WHERE workspace_id = ? AND id = ?")
        .id(workspace.uuid())
        .id(id.uuid())
}

pub(in crate::meter) fn budgets(listing: &MeterListing<BudgetId>) -> Statement {
    let cursor = listing.cursor.map(|(at, id)| (at, id.uuid()));
    page(
        statement(BUDGET).id(listing.workspace.uuid()),
        "created_at",
        cursor,
        listing.limit,
    )
}

/// Newest first, beyond a place.
fn page(asked: Statement, at: &str, cursor: Option<(Timestamp, Uuid)>, limit: u32) -> Statement {
    let (before, id) = cursor.map_or((LATEST, Uuid::nil()), |(at, id)| (at.micros(), id));
    asked
        .sql(&format!(
            " AND {at} <= ? AND ({at} < ? OR id < ?) ORDER BY {at} DESC, id DESC LIMIT ?"
        ))
        .number(before)
        .number(before)
        .id(id)
        .number(i64::from(limit))
}

pub(in crate::meter) fn add_budget(new: &NewBudget, now: Timestamp) -> Statement {
    statement(
        "INSERT INTO budgets (workspace_id, id, scope, target, metric, period, ceiling, warn_percent, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace_id, id) DO NOTHING",
    )
    .id(new.workspace.uuid())
    .id(new.id.uuid())
    .text(scope_name(new.scope))
    .id(target(new.workspace.uuid(), new.scope))
    .text(metric_name(new.metric))
    .text(period_name(new.period))
    .amount(new.limit)
    .maybe_amount(new.warn_percent.map(u64::from))
    .time(now)
}

const KEY: &str = "SELECT workspace_id, id, kind, name, session_id, agent_id, models, providers, hash, expires_at, revoked_at, \
                   created_at FROM gateway_keys WHERE ";

pub(in crate::meter) fn key(id: GatewayKeyId) -> Statement {
    statement(KEY).sql("id = ?").id(id.uuid())
}

pub(in crate::meter) fn keys(listing: &MeterListing<GatewayKeyId>) -> Statement {
    let cursor = listing.cursor.map(|(at, id)| (at, id.uuid()));
    let asked = statement(KEY)
        .sql("kind <> 'turn' AND workspace_id = ?")
        .id(listing.workspace.uuid());
    page(asked, "created_at", cursor, listing.limit)
}

pub(in crate::meter) fn add_key(
    id: GatewayKeyId,
    hash: VirtualKeyHash,
    key: &NewGatewayKey,
    now: Timestamp,
) -> Statement {
    let kind = match key.kind {
        GatewayKeyKind::Turn => "turn",
        GatewayKeyKind::Session => "session",
        GatewayKeyKind::Workspace => "workspace",
        GatewayKeyKind::Executor => "executor",
    };
    let list = |names: &Option<Vec<String>>| names.as_ref().and_then(|names| serde_json::to_string(names).ok());
    statement(
        "INSERT INTO gateway_keys (workspace_id, id, kind, name, session_id, agent_id, models, providers, hash, expires_at, \
         created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .id(key.workspace.uuid())
    .id(id.uuid())
    .text(kind)
    .text(&key.name)
    .maybe_id(key.session.map(SessionId::uuid))
    .maybe_id(key.agent.map(perennial_schema::AgentId::uuid))
    .maybe_text(list(&key.models).as_deref())
    .maybe_text(list(&key.providers).as_deref())
    .bytes(&hash.0)
    .maybe_time(key.ttl_millis.map(|ttl| now.plus_millis(ttl)))
    .time(now)
}

pub(in crate::meter) fn revoke(workspace: WorkspaceId, id: GatewayKeyId, now: Timestamp) -> Statement {
    statement("UPDATE gateway_keys SET revoked_at = coalesce(revoked_at, ?) WHERE workspace_id = ? AND id = ?")
        .time(now)
        .id(workspace.uuid())
        .id(id.uuid())
}

/// The columns of a trace, in the order of [`trace_values`].
pub(in crate::meter) const TRACE: &str = "workspace_id, id, at, session_id, agent_id, key_id, provider, model, wire, status, error, \
     input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, microusd, ttft_ms, duration_ms, streamed";

/// A trace's values.
pub(in crate::meter) fn trace_values(asked: Statement, trace: &Trace) -> Statement {
    asked
        .id(trace.payer.workspace.uuid())
        .id(trace.id.uuid())
        .time(trace.at)
        .maybe_id(trace.payer.session.map(SessionId::uuid))
        .maybe_id(trace.payer.agent.map(perennial_schema::AgentId::uuid))
        .maybe_id(trace.payer.key.map(GatewayKeyId::uuid))
        .text(&trace.provider)
        .text(&trace.model)
        .text(&trace.wire)
        .number(i64::from(trace.status))
        .maybe_text(trace.error.as_deref())
        .amount(trace.usage.input_tokens)
        .amount(trace.usage.output_tokens)
        .amount(trace.usage.cache_creation_input_tokens)
        .amount(trace.usage.cache_read_input_tokens)
        .amount(trace.microusd)
        .maybe_amount(trace.ttft_ms)
        .amount(trace.duration_ms)
        .flag(trace.streamed)
}

/// What adds a sum to what is there.
pub(in crate::meter) const ADD_UP: &str = " ON CONFLICT (workspace_id, day, session_id, agent_id, model) DO UPDATE SET \
     requests = usage_days.requests + excluded.requests, errors = usage_days.errors + excluded.errors, \
     input_tokens = usage_days.input_tokens + excluded.input_tokens, \
     output_tokens = usage_days.output_tokens + excluded.output_tokens, \
     cache_creation_input_tokens = usage_days.cache_creation_input_tokens + excluded.cache_creation_input_tokens, \
     cache_read_input_tokens = usage_days.cache_read_input_tokens + excluded.cache_read_input_tokens, \
     microusd = usage_days.microusd + excluded.microusd";

/// The columns of a sum.
pub(in crate::meter) const SUM: &str = "workspace_id, day, session_id, agent_id, model, requests, errors, input_tokens, \
     output_tokens, cache_creation_input_tokens, cache_read_input_tokens, microusd";

pub(in crate::meter) fn traces(query: &TraceQuery) -> Statement {
    let mut asked = statement("SELECT ")
        .sql(TRACE)
        .sql(" FROM traces WHERE workspace_id = ?")
        .id(query.workspace.uuid());
    if let Some(session) = query.session {
        asked = asked.sql(" AND session_id = ?").id(session.uuid());
    }
    if let Some(key) = query.key {
        asked = asked.sql(" AND key_id = ?").id(key.uuid());
    }
    if let Some(model) = &query.model {
        asked = asked.sql(" AND model = ?").text(model);
    }
    if let Some(from) = query.from {
        asked = asked.sql(" AND at >= ?").time(from);
    }
    if let Some(to) = query.to {
        asked = asked.sql(" AND at < ?").time(to);
    }
    let cursor = query.cursor.map(|(at, id)| (at, id.uuid()));
    page(asked, "at", cursor, query.limit)
}

pub(in crate::meter) fn usage(query: &UsageQuery) -> Statement {
    let group = match query.by {
        UsageBy::Day => "day",
        UsageBy::Model => "model",
        UsageBy::Session => "session_id",
        UsageBy::Agent => "agent_id",
    };
    let order = match query.by {
        UsageBy::Day => "day DESC",
        UsageBy::Model | UsageBy::Session | UsageBy::Agent => {
            "sum(microusd) DESC, sum(input_tokens + output_tokens \
             + cache_creation_input_tokens + cache_read_input_tokens) DESC, sum(requests) DESC"
        }
    };
    let sums: String = [
        "requests",
        "errors",
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "microusd",
    ]
    .map(|column| format!(", CAST(sum({column}) AS bigint) AS {column}"))
    .concat();
    // A day the upper bound lies within counts whole.
    let last = |to: Timestamp| Timestamp::from_micros(to.micros().saturating_sub(1));
    statement(format!(
        "SELECT {group} AS grp{sums} FROM usage_days WHERE workspace_id = ? AND day >= ? AND day <= ?"
    ))
    .id(query.workspace.uuid())
    .number(query.from.map_or(i64::MIN, day_of))
    .number(query.to.map_or(i64::MAX, |to| day_of(last(to))))
    .sql(&format!(" GROUP BY {group} ORDER BY {order} LIMIT ?"))
    .number(i64::from(query.limit))
}

/// Forgets some traces from before a time.
pub(in crate::meter) fn prune_traces(before: Timestamp, rows: u32) -> Statement {
    statement("DELETE FROM traces WHERE id IN (SELECT id FROM traces WHERE at < ? ORDER BY at LIMIT ?)")
        .time(before)
        .number(i64::from(rows))
}

/// Forgets some keys that were no good before a time.
pub(in crate::meter) fn prune_keys(before: Timestamp, rows: u32) -> Statement {
    statement(
        "DELETE FROM gateway_keys WHERE id IN (SELECT id FROM gateway_keys WHERE expires_at < ? OR revoked_at < ? LIMIT ?)",
    )
    .time(before)
    .time(before)
    .number(i64::from(rows))
}

/// The sum one trace is.
pub(in crate::meter) fn add_sum(trace: &Trace) -> Statement {
    let none = Uuid::nil();
    let payer = &trace.payer;
    statement(format!(
        "INSERT INTO usage_days ({SUM}) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?){ADD_UP}"
    ))
    .id(payer.workspace.uuid())
    .number(day_of(trace.at))
    .id(payer.session.map_or(none, SessionId::uuid))
    .id(payer.agent.map_or(none, perennial_schema::AgentId::uuid))
    .text(&trace.model)
    .amount(u64::from(trace.error.is_some()))
    .amount(trace.usage.input_tokens)
    .amount(trace.usage.output_tokens)
    .amount(trace.usage.cache_creation_input_tokens)
    .amount(trace.usage.cache_read_input_tokens)
    .amount(trace.microusd)
}
