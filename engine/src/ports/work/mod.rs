//! The work queue of self-hosted environments: sessions whose calls somebody else's worker runs.
//!
//! A piece of work is "serve this session until it rests". Whether a session needs one is a question to its log (I10), so nothing
//! is queued when a call is made: whoever looks at a queue adds what is missing, and a session has at most one piece at a time.
//! The store keeps pieces and swaps them by revision; what may become of one is decided by [`Work`] alone.

mod piece;

use std::collections::BTreeMap;

use async_trait::async_trait;
use perennial_schema::{EnvironmentId, KeyId, SessionId, Timestamp, WorkId, WorkspaceId};

use super::StoreError;

/// A queue: one per environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkQueueKey {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Environment.
    pub environment: EnvironmentId,
}

/// Where a piece of work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkState {
    /// Nobody has said that they do it.
    Queued,
    /// Acknowledged; no heartbeat yet.
    Starting,
    /// Served.
    Active,
    /// Its worker is to stop at its next heartbeat.
    Stopping,
    /// Over.
    Stopped,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Which.
    pub id: WorkId,
    /// Whose queue it is in.
    pub queue: WorkQueueKey,
    /// The session to serve.
    pub session: SessionId,
    /// The head of the session's log when it was queued.
    pub head: u64,
    /// Grows with every change; who changes a piece names the one it saw.
    pub revision: u64,
    /// Where it stands.
    pub state: WorkState,
    /// SHA-256 of the token that whoever was handed it has; a later hand-out replaces it.
    pub token: Option<[u8; 32]>,
    /// The key it was handed out to.
    pub key: Option<KeyId>,
    /// What that worker calls itself.
    pub worker: Option<String>,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
    /// Queued at.
    pub created_at: Timestamp,
    /// Handed out at.
    pub polled_at: Option<Timestamp>,
    /// Acknowledged at.
    pub acknowledged_at: Option<Timestamp>,
    /// First heartbeat.
    pub started_at: Option<Timestamp>,
    /// Newest heartbeat; a worker names it in its next one.
    pub beat_at: Option<Timestamp>,
    /// The heartbeat before that.
    pub beat_before: Option<Timestamp>,
    /// Its worker is believed alive until then.
    pub lease_until: Option<Timestamp>,
    /// Somebody asked to stop it at.
    pub stop_requested_at: Option<Timestamp>,
    /// Over since.
    pub stopped_at: Option<Timestamp>,
}

/// What a heartbeat names as the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBeat {
    /// Nothing: it is not compared.
    Unsaid,
    /// There was none.
    None,
    /// This one.
    At(Timestamp),
    /// A text that no heartbeat has.
    Unknown,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// The one before it.
    pub last: LastBeat,
    /// The client says that it sent it before and had no answer.
    pub repeated: bool,
    /// How long the lease is to last from now, in milliseconds.
    pub ttl_millis: u64,
}

/// A change that a piece of work does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// It was not handed out, or somebody serves it already.
    #[error("the work item is {0:?} and cannot be acknowledged")]
    NotHandedOut(WorkState),
    /// Another heartbeat came in between, or none was to be expected.
    #[error("expected_last_heartbeat is not the last heartbeat of this work item")]
    NotTheLastBeat,
    /// It is over.
    #[error("the work item has stopped already")]
    Stopped,
}

/// Pieces of work by queue. Every answer that a decision about time depends on brings the store's own time: the clocks of servers
/// may differ.
#[async_trait]
pub trait WorkQueues: Send + Sync {
    /// What is in a queue: pieces that have not stopped, and those that stopped less than `lately_millis` ago; oldest first, at
    /// most `limit`.
    async fn open(
        &self,
        queue: WorkQueueKey,
        lately_millis: u64,
        limit: u32,
    ) -> Result<(Timestamp, Vec<Work>), StoreError>;

    /// Adds a piece. False when its session has one that has not stopped. Forgets what stopped long ago.
    async fn add(&self, work: &Work) -> Result<bool, StoreError>;

    /// Puts a piece in the place of the one of this revision. False when somebody else changed it first.
    async fn swap(&self, seen: u64, work: &Work) -> Result<bool, StoreError>;

    /// A piece of whatever queue: whoever asks compares it.
    async fn piece(&self, id: WorkId) -> Result<Option<(Timestamp, Work)>, StoreError>;

    /// All pieces of a queue, newest first, strictly beyond (creation time, id).
    async fn list(
        &self,
        queue: WorkQueueKey,
        before: Option<(Timestamp, WorkId)>,
        limit: u32,
    ) -> Result<Vec<Work>, StoreError>;

    /// A worker asked for work. Nothing hangs on it.
    async fn attend(&self, queue: WorkQueueKey, worker: &str) -> Result<(), StoreError>;

    /// How many workers asked within [`WORKER_SEEN_MILLIS`].
    async fn attending(&self, queue: WorkQueueKey) -> Result<u64, StoreError>;
}

/// A worker that asked for work so long ago does not count any more, in milliseconds.
pub const WORKER_SEEN_MILLIS: u64 = 30_000;
/// Workers counted per queue; more are served and not counted.
pub const WORKERS_COUNTED: u64 = 1000;
/// A piece that stopped so long ago is forgotten, in milliseconds.
pub const WORK_KEPT_MILLIS: u64 = 7 * 24 * 3_600_000;
