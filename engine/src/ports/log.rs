//! The log: append and read.
//!
//! An append is one atomic commit: the events with the next numbers, and the session row's projection columns. Whether it
//! may happen is decided inside that commit, by the [`Authority`] it carries.

use async_trait::async_trait;
use perennial_schema::event::{Awaits, Draft, Record};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{AppendId, BudgetId, EventId, ExecutorId, SessionId, Timestamp};

use super::{SessionKey, SessionPatch, StoreError};

/// One atomic append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which session.
    pub key: SessionKey,
    /// Chosen by the caller, unique per session. Appending the same id again returns the first outcome (`replayed`) and
    /// writes nothing: this is how an ambiguous commit is resolved (I2). A holder appends one after the other, and repeats none
    /// but the latest.
    pub append_id: AppendId,
    /// Events, in order; may be empty for a holder that only changes columns (release).
    pub events: Vec<Draft>,
    /// Who says so.
    pub authority: Authority,
    /// What changes on the session row in the same commit; see [`Projection::of`].
    pub projection: Projection,
}

/// By what right an append happens.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The lease holder; refused as [`AppendError::Fenced`] when the row's epoch is another.
    Holder {
        /// Epoch of the lease.
        epoch: u64,
        /// Going idle: only when the head is still this (else [`AppendError::Moved`], nothing written).
        only_at_head: Option<u64>,
        /// Give the lease back in the same commit and count no attempt.
        release: bool,
    },
    /// A client (API, mailbox). Refused when the session is archived or deleted.
    Client {
        /// Further conditions.
        guards: Vec<Guard>,
        /// Answers a repeated request with the first one's outcome.
        idempotency: Option<Idempotency>,
    },
}

/// A condition of a client append, checked inside its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The event exists, waits for this, and nobody has answered it yet.
    Unanswered {
        /// The tool use.
        tool_use_id: EventId,
        /// What it must wait for.
        awaits: Awaits,
    },
    /// The session is not running (nor ready to run) and nobody holds it.
    NotRunning,
    /// The session is quarantined.
    Quarantined,
    /// This is the session's last event: what was decided by it still holds.
    Head(u64),
}

/// A repeated request is answered with the first one's outcome (I19). Scoped by workspace and `scope`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Route and principal, e.g. `POST /v1/sessions`.
    pub scope: String,
    /// The client's key, or for SDK retries one derived from credential, path and body.
    pub key: String,
    /// SHA-256 of the body, hex.
    pub body_hash: String,
    /// How to treat an earlier request under this key.
    pub mode: IdempotencyMode,
}

/// How an earlier request under the same key is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyMode {
    /// An `Idempotency-Key` header: replay; another body is [`AppendError::KeyReused`]. Kept ≥ 24 h.
    Key,
    /// First try of an official SDK (no key): just remember it, replacing what was there.
    Remember,
    /// A declared retry of an official SDK: replay what was remembered in the last 60 s, else like `Remember`.
    Retry,
}

/// What an append changes on the session row. All fields are deltas or new values, so that every backend can apply them in
/// one statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// New status.
    pub status: Option<Status>,
    /// New stop reason (inner `None` clears it).
    pub stop_reason: Option<Option<StopReason>>,
    /// New turn; holders only.
    pub turn: Option<u64>,
    /// Tokens to add.
    pub usage: Usage,
    /// Reset the attempt counter.
    pub progress: bool,
    /// When the session may next be claimed.
    pub ready: Ready,
    /// The budget a session rests for; goes with a stop reason, and any other stop reason clears it.
    pub hold: Option<BudgetHold>,
    /// Inputs to stamp as processed, with the append's time.
    pub processed: Vec<EventId>,
    /// Set the quarantine flag.
    pub quarantined: Option<bool>,
    /// The executor that has the session's workspace from now on.
    pub place: Option<ExecutorId>,
    /// New values of client-owned columns.
    pub patch: SessionPatch,
}

/// A session rests until a budget has room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetHold {
    /// Which.
    pub budget: BudgetId,
    /// How much room there must be.
    pub need: u64,
}

/// When a session may next be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// Unchanged.
    #[default]
    Keep,
    /// Now, unless the session is quarantined.
    Now,
    /// Like `Now`, unless the session rests for somebody's answer as of this very commit: a queued message must not wake a
    /// parked session, and must wake any other.
    UnlessParked,
    /// At this time.
    At(Timestamp),
    /// Not before new input.
    Never,
}

/// A successful append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Number of its first event (`head + 1` when it had none).
    pub first_seq: u64,
    /// The head after it.
    pub last_seq: u64,
    /// Commit time by the log's clock, the events' `created_at`.
    pub at: Timestamp,
    /// The turn column after it.
    pub turn: u64,
    /// True when an earlier append with this id or idempotency key did it.
    pub replayed: bool,
    /// For a replay by idempotency key that created a session: which one.
    pub session: SessionId,
}

/// An append that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another epoch holds the session: drop everything, do not retry (I3).
    #[error("fenced: the session is held under epoch {current}")]
    Fenced {
        /// The row's epoch.
        current: u64,
    },
    /// The head is not where a conditional append needs it: fold the tail and go on.
    #[error("the head moved to {head}")]
    Moved {
        /// The head.
        head: u64,
    },
    /// No such session (or not yours, or deleted).
    #[error("no such session")]
    NotFound,
    /// Archived.
    #[error("the session is archived")]
    Archived,
    /// The session is running.
    #[error("the session is running")]
    Running,
    /// The session is not quarantined.
    #[error("the session is not quarantined")]
    NotQuarantined,
    /// No such tool use in this session, or it does not wait for this.
    #[error("no tool use {0} waits for this")]
    NotAwaited(EventId),
    /// Somebody answered it first.
    #[error("tool use {0} is already answered")]
    AlreadyAnswered(EventId),
    /// The idempotency key was used with another body.
    #[error("this idempotency key was used with another body")]
    KeyReused,
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which part of a log to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadFrom {
    /// Events after this seq.
    pub after: u64,
    /// At most so many events.
    pub limit: u32,
}

/// A filtered listing for the API.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only these types; empty means all but extensions unless `include_extensions`.
    pub types: Vec<String>,
    /// Extension events too.
    pub include_extensions: bool,
    /// Newest first.
    pub descending: bool,
    /// Cursor: strictly after (before, when descending) this seq.
    pub cursor: Option<u64>,
    /// Bounds on the time an event was processed (see API reference §4), in this order: gt, gte, lt, lte.
    pub created: TimeBounds,
    /// At most so many.
    pub limit: u32,
}

/// Bounds on a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeBounds {
    /// Later than.
    pub gt: Option<Timestamp>,
    /// At or later than.
    pub gte: Option<Timestamp>,
    /// Earlier than.
    pub lt: Option<Timestamp>,
    /// At or earlier than.
    pub lte: Option<Timestamp>,
}

/// Append and read.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends atomically.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// Events after a seq, in order, whole rows. Bounded by `limit` and by 8 MiB of payload (at least one event); an empty
    /// answer means the end was reached.
    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError>;

    /// One event by id.
    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError>;

    /// A filtered listing; `processed_at` of inputs is overlaid.
    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError>;
}
