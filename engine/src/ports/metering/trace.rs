//! What was used: single requests, and their sums.

use perennial_schema::model::Usage;
use perennial_schema::{GatewayKeyId, SessionId, Timestamp, TraceId, WorkspaceId};

use super::Payer;

/// One model request as it was traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Id.
    pub id: TraceId,
    /// When it began.
    pub at: Timestamp,
    /// At whose expense.
    pub payer: Payer,
    /// Provider's configured name.
    pub provider: String,
    /// Model as the provider knows it.
    pub model: String,
    /// The provider's wire: `messages`, `responses`, `chat` or `rehearsal`.
    pub wire: String,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What went wrong.
    pub error: Option<String>,
    /// Tokens, as far as known.
    pub usage: Usage,
    /// What that costs by the price table.
    pub microusd: u64,
    /// Until the first piece of the answer.
    pub ttft_ms: Option<u64>,
    /// Until the end.
    pub duration_ms: u64,
    /// The answer was a stream.
    pub streamed: bool,
}

/// By what usage is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// UTC day.
    Day,
    /// Model.
    Model,
    /// Session.
    Session,
    /// Agent.
    Agent,
}

/// Which usage.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Added up by.
    pub by: UsageBy,
    /// From the UTC day of this time on.
    pub from: Option<Timestamp>,
    /// Up to this time; a day it is within counts whole.
    pub to: Option<Timestamp>,
    /// At most so many groups: the latest days, else those that used most.
    pub limit: u32,
}

/// What one group used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// `2026-01-31`, a model, a session's or an agent's id; empty where a request had none.
    pub group: String,
    /// Requests.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Tokens.
    pub usage: Usage,
    /// What that costs by the price table.
    pub microusd: u64,
}

/// Which traces, latest first.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Only of this session.
    pub session: Option<SessionId>,
    /// Only made with this key.
    pub key: Option<GatewayKeyId>,
    /// Only of this model.
    pub model: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Strictly beyond this one.
    pub cursor: Option<(Timestamp, TraceId)>,
    /// At most so many.
    pub limit: u32,
}
