//! Sessions as clients see them, built from the session row.

use perennial_engine::ports::SessionRow;
use perennial_schema::Timestamp;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::event::{LastEvent, Raw};
use perennial_schema::session::{Status, StopReason};
use serde::Serialize;

/// A session.
#[derive(Serialize)]
pub(crate) struct Session<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: Status,
    title: Option<&'a str>,
    agent: &'a AgentSnapshot,
    environment_id: String,
    deployment_id: Option<&'a str>,
    resources: Vec<serde_json::Value>,
    vault_ids: &'a [String],
    metadata: &'a perennial_engine::ports::SessionMetadata,
    outcome_evaluations: [(); 0],
    stats: Stats,
    usage: Usage,
    budget: Option<&'a Raw>,
    created_at: Timestamp,
    updated_at: Timestamp,
    archived_at: Option<Timestamp>,
    /// Ours, with `?include=extensions` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    perennial: Option<Extension<'a>>,
}

/// From creation to the last event. Active time is not measured yet, and absent rather than wrong.
#[derive(Serialize)]
struct Stats {
    duration_seconds: f64,
}

#[derive(Serialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

/// What drivers need beyond the adopted API: why it rests, and how it fares.
#[derive(Serialize)]
struct Extension<'a> {
    stop_reason: Option<&'a StopReason>,
    turn: u64,
    head: u64,
    quarantined: bool,
    attempts: u32,
    /// What happened last, in few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event: Option<&'a LastEvent>,
    /// The budget it rests for.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_hold: Option<perennial_schema::BudgetId>,
}

impl<'a> Session<'a> {
    /// The session as served.
    #[must_use]
    pub(crate) fn of(row: &'a SessionRow, extensions: bool) -> Self {
        let micros = row.updated_at.micros().saturating_sub(row.created_at.micros());
        Self {
            id: row.key.session.to_string(),
            kind: "session",
            status: row.served_status(),
            title: row.title.as_deref(),
            agent: &row.agent,
            environment_id: row.environment_id.to_string(),
            deployment_id: None,
            resources: super::resource::served(&row.resources),
            vault_ids: &row.vault_ids,
            metadata: &row.metadata,
            outcome_evaluations: [],
            stats: Stats {
                duration_seconds: std::time::Duration::from_micros(u64::try_from(micros).unwrap_or_default())
                    .as_secs_f64(),
            },
            usage: Usage {
                input_tokens: row.usage.input_tokens,
                output_tokens: row.usage.output_tokens,
                cache_read_input_tokens: row.usage.cache_read_input_tokens,
                cache_creation: CacheCreation {
                    ephemeral_5m_input_tokens: row.usage.cache_creation_input_tokens,
                    ephemeral_1h_input_tokens: 0,
                },
            },
            budget: row.budget.as_ref(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
            perennial: extensions.then_some(Extension {
                stop_reason: row.stop_reason.as_ref(),
                turn: row.turn,
                head: row.head,
                quarantined: row.quarantined,
                attempts: row.attempts,
                last_event: row.last_event.as_ref(),
                budget_hold: row.hold.map(|hold| hold.budget),
            }),
        }
    }
}
