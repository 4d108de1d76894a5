//! Pieces of work, as the official SDKs' workers read them.

use std::collections::BTreeMap;

use perennial_engine::ports::Work;
use perennial_schema::{EnvironmentId, SessionId, Timestamp, WorkId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metadata::Patch;

/// A piece of work.
#[derive(Serialize)]
pub(crate) struct WorkView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: WorkId,
    environment_id: EnvironmentId,
    state: &'static str,
    data: Data,
    secret: Option<String>,
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    acknowledged_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    latest_heartbeat_at: Option<Timestamp>,
    stop_requested_at: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Data {
    #[serde(rename = "type")]
    kind: &'static str,
    id: SessionId,
}

impl WorkView {
    pub(crate) fn of(work: &Work) -> Self {
        Self {
            kind: "work",
            id: work.id,
            environment_id: work.queue.environment,
            state: work.state.as_str(),
            data: Data {
                kind: "session",
                id: work.session,
            },
            secret: None,
            metadata: work.metadata.clone(),
            created_at: work.created_at,
            acknowledged_at: work.acknowledged_at,
            started_at: work.started_at,
            latest_heartbeat_at: work.beat_at,
            stop_requested_at: work.stop_requested_at,
            stopped_at: work.stopped_at,
        }
    }

    /// For whoever it was handed to, once.
    pub(crate) fn with_secret(work: &Work, secret: String) -> Self {
        Self {
            secret: Some(secret),
            ..Self::of(work)
        }
    }
}

/// What a heartbeat is answered with.
#[derive(Serialize)]
pub(crate) struct Heartbeat {
    #[serde(rename = "type")]
    kind: &'static str,
    last_heartbeat: String,
    lease_extended: bool,
    state: &'static str,
    ttl_seconds: u32,
}

impl Heartbeat {
    pub(crate) fn of(work: &Work, extended: bool, ttl_seconds: u32) -> Self {
        Self {
            kind: "work_heartbeat",
            last_heartbeat: work.beat_at.map(|at| at.to_string()).unwrap_or_default(),
            lease_extended: extended,
            state: work.state.as_str(),
            ttl_seconds,
        }
    }
}

/// The lease as it is, for whoever was refused.
pub(crate) fn lease_state(work: &Work, ttl_seconds: u32) -> Value {
    json!({
        "state": work.state.as_str(),
        "last_heartbeat": work.beat_at,
        "lease_extended": false,
        "ttl_seconds": ttl_seconds,
    })
}

/// How much waits.
#[derive(Serialize)]
pub(crate) struct Stats {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub depth: usize,
    pub pending: usize,
    pub oldest_queued_at: Option<Timestamp>,
    pub workers_polling: u64,
}

/// `POST …/work/{id}`.
#[derive(Deserialize)]
pub(crate) struct Update {
    #[serde(default)]
    pub metadata: Option<Patch>,
}

/// `POST …/work/{id}/stop`.
#[derive(Deserialize)]
pub(crate) struct Stop {
    #[serde(default)]
    pub force: Option<bool>,
}
