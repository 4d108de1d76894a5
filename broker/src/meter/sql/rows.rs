//! Rows as values.

use perennial_engine::ports::{
    Budget, BudgetMetric, BudgetPeriod, BudgetScope, GatewayKey, GatewayKeyKind, Payer, StoreError, Trace, UsageBy,
    UsageRow,
};
use perennial_schema::model::Usage;
use perennial_schema::{AgentId, BudgetId, GatewayKeyId, SessionId, TraceId, VirtualKeyHash, WorkspaceId};

use crate::meter::counter::{self, Counter};
use crate::sql::{Columns, inconsistent};

/// Whom a budget is for.
pub(in crate::meter) fn scope(row: &impl Columns) -> Result<BudgetScope, StoreError> {
    let target = row.id("target")?;
    Ok(match row.text("scope")?.as_str() {
        "workspace" => BudgetScope::Workspace,
        "key" => BudgetScope::Key(GatewayKeyId::from_uuid(target)),
        "session" => BudgetScope::Session(SessionId::from_uuid(target)),
        other => return Err(inconsistent("scope", format!("{other:?} is no scope"))),
    })
}

/// A budget as of its own day.
pub(in crate::meter) fn counter(row: &impl Columns) -> Result<Counter, StoreError> {
    let scope = scope(row)?;
    let metric = match row.text("metric")?.as_str() {
        "requests" => BudgetMetric::Requests,
        "tokens" => BudgetMetric::Tokens,
        "money" => BudgetMetric::Money,
        other => return Err(inconsistent("metric", format!("{other:?} is no metric"))),
    };
    let period = match row.text("period")?.as_str() {
        "total" => BudgetPeriod::Total,
        "day" => BudgetPeriod::Day,
        other => return Err(inconsistent("period", format!("{other:?} is no period"))),
    };
    let percent = row.maybe_number("warn_percent")?.map(u8::try_from).transpose();
    Ok(Counter {
        budget: Budget {
            id: BudgetId::from_uuid(row.id("id")?),
            workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
            scope,
            metric,
            period,
            limit: row.amount("ceiling")?,
            used: row.amount("used")?,
            reserved: row.amount("reserved")?,
            warn_percent: percent.map_err(|error| inconsistent("warn_percent", error))?,
            resets_at: None,
            created_at: row.time("created_at")?,
        },
        day: row.number("day")?,
        warned: row.flag("warned")?,
    })
}

/// A budget as of a day.
pub(in crate::meter) fn budget(row: &impl Columns, today: i64) -> Result<Budget, StoreError> {
    counter(row).map(|counter| counter.on(today).budget)
}

/// A virtual key.
pub(in crate::meter) fn key(row: &impl Columns) -> Result<GatewayKey, StoreError> {
    let kind = match row.text("kind")?.as_str() {
        "turn" => GatewayKeyKind::Turn,
        "session" => GatewayKeyKind::Session,
        "workspace" => GatewayKeyKind::Workspace,
        "executor" => GatewayKeyKind::Executor,
        other => return Err(inconsistent("kind", format!("{other:?} is no kind of key"))),
    };
    let list = |column| -> Result<Option<Vec<String>>, StoreError> {
        let text = row.maybe_text(column)?;
        let parse = |text: String| serde_json::from_str(&text).map_err(|error| inconsistent(column, error));
        text.map(parse).transpose()
    };
    let hash = <[u8; 32]>::try_from(row.bytes("hash")?);
    Ok(GatewayKey {
        id: GatewayKeyId::from_uuid(row.id("id")?),
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        kind,
        name: row.text("name")?,
        session: row.maybe_id("session_id")?.map(SessionId::from_uuid),
        agent: row.maybe_id("agent_id")?.map(AgentId::from_uuid),
        models: list("models")?,
        providers: list("providers")?,
        hash: VirtualKeyHash(hash.map_err(|_| inconsistent("hash", "is not 32 bytes"))?),
        expires_at: row.maybe_time("expires_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
        created_at: row.time("created_at")?,
    })
}

/// A trace.
pub(in crate::meter) fn trace(row: &impl Columns) -> Result<Trace, StoreError> {
    Ok(Trace {
        id: TraceId::from_uuid(row.id("id")?),
        at: row.time("at")?,
        payer: Payer {
            workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
            session: row.maybe_id("session_id")?.map(SessionId::from_uuid),
            agent: row.maybe_id("agent_id")?.map(AgentId::from_uuid),
            key: row.maybe_id("key_id")?.map(GatewayKeyId::from_uuid),
            aside: false,
        },
        provider: row.text("provider")?,
        model: row.text("model")?,
        wire: row.text("wire")?,
        status: u16::try_from(row.number("status")?).map_err(|error| inconsistent("status", error))?,
        error: row.maybe_text("error")?,
        usage: tokens(row)?,
        microusd: row.amount("microusd")?,
        ttft_ms: row.maybe_amount("ttft_ms")?,
        duration_ms: row.amount("duration_ms")?,
        streamed: row.flag("streamed")?,
    })
}

fn tokens(row: &impl Columns) -> Result<Usage, StoreError> {
    Ok(Usage {
        input_tokens: row.amount("input_tokens")?,
        output_tokens: row.amount("output_tokens")?,
        cache_creation_input_tokens: row.amount("cache_creation_input_tokens")?,
        cache_read_input_tokens: row.amount("cache_read_input_tokens")?,
    })
}

/// A sum.
pub(in crate::meter) fn usage(row: &impl Columns, by: UsageBy) -> Result<UsageRow, StoreError> {
    let id = || row.id("grp").map(|id| Some(id).filter(|id| !id.is_nil()));
    let group = match by {
        UsageBy::Day => counter::date(row.number("grp")?),
        UsageBy::Model => row.text("grp")?,
        UsageBy::Session => id()?.map(|id| SessionId::from_uuid(id).to_string()).unwrap_or_default(),
        UsageBy::Agent => id()?.map(|id| AgentId::from_uuid(id).to_string()).unwrap_or_default(),
    };
    Ok(UsageRow {
        group,
        requests: row.amount("requests")?,
        errors: row.amount("errors")?,
        usage: tokens(row)?,
        microusd: row.amount("microusd")?,
    })
}
