//! Virtual keys, sums and traces as clients see them.

use perennial_engine::ports::{GatewayKey, GatewayKeyKind, NewGatewayKey, Trace, UsageRow};
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::{AgentId, GatewayKeyId, SessionId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::{count, length};
use crate::error::ApiError;

/// Longest life of a key that has an end, in seconds: ten years.
const LONGEST: u64 = 10 * 365 * 24 * 3600;
/// Most names in an allow-list.
const NAMES: usize = 100;

/// `POST /v1/gateway_keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    name: Option<String>,
    kind: Option<String>,
    session_id: Option<String>,
    agent_id: Option<String>,
    models: Option<Vec<String>>,
    providers: Option<Vec<String>>,
    expires_in_seconds: Option<u64>,
}

impl CreateKey {
    /// The key this body describes.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn into_key(self, id: GatewayKeyId, workspace: WorkspaceId) -> Result<NewGatewayKey, ApiError> {
        let name = self.name.unwrap_or_default();
        length("name", &name, 0, NAME_CHARS)?;
        for (path, names) in [("models", &self.models), ("providers", &self.providers)] {
            count(path, names.as_ref().map_or(0, Vec::len), NAMES)?;
            for name in names.iter().flatten() {
                length(path, name, 1, NAME_CHARS)?;
            }
        }
        let session: Option<SessionId> = self
            .session_id
            .map(|id| id.parse().map_err(|error| ApiError::field("session_id", error)))
            .transpose()?;
        let agent: Option<AgentId> = self
            .agent_id
            .map(|id| id.parse().map_err(|error| ApiError::field("agent_id", error)))
            .transpose()?;
        let kind = match self.kind.as_deref() {
            None if session.is_some() => GatewayKeyKind::Session,
            None | Some("workspace") => GatewayKeyKind::Workspace,
            Some("session") if session.is_some() => GatewayKeyKind::Session,
            Some("session") => return Err(ApiError::field("session_id", "a key of kind session names its session")),
            Some("executor") => GatewayKeyKind::Executor,
            Some(other) => {
                return Err(ApiError::field(
                    "kind",
                    format!("{other:?} is none of workspace, session, executor"),
                ));
            }
        };
        let ttl_millis = match self.expires_in_seconds {
            None => None,
            Some(seconds @ 1..=LONGEST) => Some(seconds * 1000),
            Some(_) => {
                return Err(ApiError::field(
                    "expires_in_seconds",
                    format!("must be between 1 and {LONGEST}"),
                ));
            }
        };
        Ok(NewGatewayKey {
            id: Some(id),
            workspace,
            kind,
            name,
            session,
            agent,
            models: self.models,
            providers: self.providers,
            ttl_millis,
        })
    }
}

/// A virtual key.
#[derive(Serialize)]
pub(crate) struct KeyView {
    id: String,
    #[serde(rename = "type")]
    type_: &'static str,
    kind: &'static str,
    name: String,
    session_id: Option<SessionId>,
    agent_id: Option<AgentId>,
    models: Option<Vec<String>>,
    providers: Option<Vec<String>>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    created_at: Timestamp,
    /// Shown once, by the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl KeyView {
    pub(crate) fn of(key: GatewayKey, secret: Option<String>) -> Self {
        Self {
            id: key.id.to_string(),
            type_: "gateway_key",
            kind: match key.kind {
                GatewayKeyKind::Turn => "turn",
                GatewayKeyKind::Session => "session",
                GatewayKeyKind::Workspace => "workspace",
                GatewayKeyKind::Executor => "executor",
            },
            name: key.name,
            session_id: key.session,
            agent_id: key.agent,
            models: key.models,
            providers: key.providers,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            created_at: key.created_at,
            secret,
        }
    }
}

/// A sum of requests.
#[derive(Serialize)]
pub(crate) struct UsageView {
    #[serde(rename = "type")]
    kind: &'static str,
    /// A day, a model, a session or an agent; null where requests had none.
    group: Option<String>,
    requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cost_microusd: u64,
}

impl From<UsageRow> for UsageView {
    fn from(row: UsageRow) -> Self {
        Self {
            kind: "usage",
            group: Some(row.group).filter(|group| !group.is_empty()),
            requests: row.requests,
            errors: row.errors,
            input_tokens: row.usage.input_tokens,
            output_tokens: row.usage.output_tokens,
            cache_creation_input_tokens: row.usage.cache_creation_input_tokens,
            cache_read_input_tokens: row.usage.cache_read_input_tokens,
            cost_microusd: row.microusd,
        }
    }
}

/// A request to a model.
#[derive(Serialize)]
pub(crate) struct TraceView {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: Timestamp,
    session_id: Option<SessionId>,
    agent_id: Option<AgentId>,
    key_id: Option<GatewayKeyId>,
    provider: String,
    model: String,
    wire: String,
    status: u16,
    error: Option<String>,
    usage: perennial_schema::model::Usage,
    cost_microusd: u64,
    ttft_ms: Option<u64>,
    duration_ms: u64,
    streamed: bool,
}

impl From<Trace> for TraceView {
    fn from(trace: Trace) -> Self {
        Self {
            id: trace.id.to_string(),
            kind: "model_request",
            created_at: trace.at,
            session_id: trace.payer.session,
            agent_id: trace.payer.agent,
            key_id: trace.payer.key,
            provider: trace.provider,
            model: trace.model,
            wire: trace.wire,
            status: trace.status,
            error: trace.error,
            usage: trace.usage,
            cost_microusd: trace.microusd,
            ttft_ms: trace.ttft_ms,
            duration_ms: trace.duration_ms,
            streamed: trace.streamed,
        }
    }
}
