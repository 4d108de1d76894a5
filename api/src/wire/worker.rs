//! Workers and what they are scaled by, as operators see them.

use perennial_engine::ports::{Backlog, Demand, PoolWorker, Standing};
use perennial_schema::{OwnerId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// A worker.
#[derive(Serialize)]
pub(crate) struct WorkerView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: OwnerId,
    name: String,
    version: String,
    state: &'static str,
    slots: u32,
    sessions: u64,
    harnesses: Vec<String>,
    joined_at: Timestamp,
    last_seen_at: Timestamp,
}

impl From<PoolWorker> for WorkerView {
    fn from(worker: PoolWorker) -> Self {
        Self {
            kind: "worker",
            id: worker.owner,
            name: worker.card.name,
            version: worker.card.version,
            state: match worker.standing {
                Standing::Active => "active",
                Standing::Cordoned => "cordoned",
                Standing::Draining if worker.held == 0 => "drained",
                Standing::Draining => "draining",
            },
            slots: worker.card.slots,
            sessions: worker.held,
            harnesses: worker.card.harnesses,
            joined_at: worker.joined_at,
            last_seen_at: worker.seen_at,
        }
    }
}

/// `PATCH /v1/workers/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steer {
    state: String,
}

impl Steer {
    /// What is wanted.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<Standing, ApiError> {
        match self.state.as_str() {
            "active" => Ok(Standing::Active),
            "cordoned" => Ok(Standing::Cordoned),
            "draining" => Ok(Standing::Draining),
            _ => Err(ApiError::field("state", "must be active, cordoned or draining")),
        }
    }
}

/// What a pool is scaled by.
#[derive(Serialize)]
pub(crate) struct ScalingView {
    #[serde(rename = "type")]
    kind: &'static str,
    pool: &'static str,
    wanted_slots: u64,
    wanted_workers: Option<u64>,
    ready_sessions: u64,
    over_slots_sessions: u64,
    held_sessions: u64,
    oldest_ready_ms: u64,
    workers: u64,
    slots: u64,
    harnesses: Vec<DemandView>,
}

/// The same of one harness.
#[derive(Serialize)]
struct DemandView {
    harness: String,
    ready_sessions: u64,
    held_sessions: u64,
    oldest_ready_ms: u64,
    workers: u64,
}

impl ScalingView {
    pub(crate) fn of(pool: &'static str, backlog: Backlog, demand: Vec<Demand>, workers: &[PoolWorker]) -> Self {
        let active = |worker: &&PoolWorker| worker.standing == Standing::Active;
        let of = |demand: Demand| DemandView {
            workers: workers
                .iter()
                .filter(active)
                .filter(|worker| worker.card.harnesses.contains(&demand.harness))
                .count() as u64,
            ready_sessions: demand.ready,
            held_sessions: demand.held,
            oldest_ready_ms: demand.oldest_millis,
            harness: demand.harness,
        };
        Self {
            kind: "scaling",
            pool,
            wanted_slots: backlog.wanted_slots(),
            wanted_workers: backlog.wanted_workers(),
            ready_sessions: backlog.ready,
            over_slots_sessions: backlog.over,
            held_sessions: backlog.held,
            oldest_ready_ms: backlog.oldest_millis,
            workers: backlog.workers,
            slots: backlog.slots,
            harnesses: demand.into_iter().map(of).collect(),
        }
    }
}
