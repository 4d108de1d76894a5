//! Session rows: create, find, list, fork. The row is a projection of the log plus what clients own (title, metadata).

use std::time::Duration;

use async_trait::async_trait;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Draft, LastEvent, Raw};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{AgentId, EnvironmentId, ExecutorId, SessionId, Timestamp, WorkspaceId};

use super::{AppendError, Appended, BudgetHold, Idempotency, Projection, SessionKey, StoreError, TimeBounds};

/// Free pairs, in the client's order.
pub type SessionMetadata = serde_json::Map<String, serde_json::Value>;

/// A session to create.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Key, chosen by the caller.
    pub key: SessionKey,
    /// Everything its turns depend on.
    pub agent: AgentSnapshot,
    /// Where its hands are.
    pub environment_id: EnvironmentId,
    /// The environment's config at creation.
    pub environment: EnvironmentConfig,
    /// Title.
    pub title: Option<String>,
    /// Free pairs.
    pub metadata: SessionMetadata,
    /// Resources, verbatim.
    pub resources: Vec<Raw>,
    /// Vaults, verbatim.
    pub vault_ids: Vec<String>,
    /// Budget, verbatim.
    pub budget: Option<Raw>,
    /// The executor that has its workspace already: a fork's folder is a copy beside its source's.
    pub place: Option<ExecutorId>,
    /// First events (initial events; for a fork: what follows the copied ones).
    pub events: Vec<Draft>,
    /// Columns after those events.
    pub projection: Projection,
    /// Answers a repeated request with the first one's session.
    pub idempotency: Option<Idempotency>,
}

/// Where a fork's first events come from.
#[derive(Clone, Copy, Debug)]
pub struct ForkFrom {
    /// Source session (same workspace).
    pub session: SessionId,
    /// Rows 1..=at_seq are copied verbatim, with their processed stamps.
    pub at_seq: u64,
}

/// A commit of another server's log, as it was there.
#[derive(Clone, Debug)]
pub struct Past {
    /// When it was committed.
    pub at: Timestamp,
    /// The turn it belongs to.
    pub turn: u64,
    /// Its events, in order; never empty.
    pub events: Vec<Draft>,
}

/// Columns clients own; `None` leaves as is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPatch {
    /// New title (inner `None` clears).
    pub title: Option<Option<String>>,
    /// New metadata, whole.
    pub metadata: Option<SessionMetadata>,
    /// New agent snapshot, whole.
    pub agent: Option<AgentSnapshot>,
    /// New budget, verbatim (inner `None` clears).
    pub budget: Option<Option<Raw>>,
    /// Archive at the append's time.
    pub archive: bool,
    /// Delete (tombstone) at the append's time.
    pub delete: bool,
}

/// A session that said nothing for so long is told of when its last event is another one.
pub const LAST_EVENT_PAUSE: Duration = Duration::from_secs(2);

/// A session row.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    /// Key.
    pub key: SessionKey,
    /// Number of the last event, 0 for none.
    pub head: u64,
    /// Epoch of the last lease; grows with every claim, never resets.
    pub epoch: u64,
    /// Whether somebody holds it now.
    pub held: bool,
    /// Status as of the last status event.
    pub status: Status,
    /// Why it rests.
    pub stop_reason: Option<StopReason>,
    /// Turn column.
    pub turn: u64,
    /// When it may be claimed.
    pub ready_at: Option<Timestamp>,
    /// Attempts that ended in process death since the last progress.
    pub attempts: u32,
    /// Set aside; only the retry endpoint readies it.
    pub quarantined: bool,
    /// Tokens so far.
    pub usage: Usage,
    /// The executor that has its workspace; none before the first tool call.
    pub place: Option<ExecutorId>,
    /// The budget it rests for, with `budget_reached`.
    pub hold: Option<BudgetHold>,
    /// Everything its turns depend on.
    pub agent: AgentSnapshot,
    /// Where its hands are.
    pub environment_id: EnvironmentId,
    /// The environment's config at creation.
    pub environment: EnvironmentConfig,
    /// Title.
    pub title: Option<String>,
    /// Free pairs.
    pub metadata: SessionMetadata,
    /// Resources, verbatim.
    pub resources: Vec<Raw>,
    /// Vaults.
    pub vault_ids: Vec<String>,
    /// Budget, verbatim.
    pub budget: Option<Raw>,
    /// Made at.
    pub created_at: Timestamp,
    /// Its last event, for lists; none of a session that ends with what was copied into it, or was deleted, and none of one that
    /// is claimed: who works on it reads its log.
    pub last_event: Option<LastEvent>,
    /// Last append at.
    pub updated_at: Timestamp,
    /// Archived at.
    pub archived_at: Option<Timestamp>,
    /// Tombstone; such rows are served to nobody but the log's own readers.
    pub deleted_at: Option<Timestamp>,
}

/// A filtered listing of sessions, newest first unless `ascending`; deleted ones never.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only this agent's.
    pub agent_id: Option<AgentId>,
    /// Only this version's.
    pub agent_version: Option<u64>,
    /// Only these statuses (as served: a ready session counts as running); empty means all.
    pub statuses: Vec<Status>,
    /// Only those of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Only those whose last rest was for somebody's answer to a tool use.
    pub waiting: bool,
    /// Only those in which somebody allowed or denied a tool use.
    pub confirmed: bool,
    /// Bounds on creation.
    pub created: TimeBounds,
    /// Archived ones too.
    pub include_archived: bool,
    /// Oldest first.
    pub ascending: bool,
    /// Cursor: strictly beyond this (creation time, id) in the direction of the order.
    pub cursor: Option<(Timestamp, SessionId)>,
    /// At most so many.
    pub limit: u32,
}

/// A place in a workspace's stream of changes. Ordered; nothing can appear behind a place that was once read (I12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeCursor {
    /// Which commit, in the order in which commits became visible.
    pub commit: u64,
    /// Which session among those of one commit.
    pub position: u64,
}

/// Session rows.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Creates a session with its first events in one commit; with `fork`, rows are copied first and the new events follow
    /// them. `replayed` answers carry the first request's session.
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError>;

    /// Creates a session that begins with what another server's log holds, numbered from 1 with the times it had there; the
    /// new events follow. Otherwise like [`Sessions::create`].
    async fn import(&self, _new: NewSession, _past: Vec<Past>) -> Result<Appended, AppendError> {
        Err(AppendError::Store(StoreError::Unavailable {
            store: "sessions",
            message: "this store takes no logs of other servers".into(),
        }))
    }

    /// The row, deleted or not.
    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError>;

    /// A listing.
    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError>;

    /// Sessions whose summary changed after a place (none: all), each once, in its newest form, oldest change first. Deleted
    /// ones are among them, so that followers can drop them. Nothing is skipped; a change may be told twice. A change is what
    /// a list of sessions shows: creation, status, stop reason, turn, readiness, quarantine, archive, delete, a patch; and after
    /// a pause of [`LAST_EVENT_PAUSE`] another last event. What follows at once does not count as one: it would touch an index
    /// with every append, and nobody could read it.
    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError>;
}

impl SessionRow {
    /// The status clients see: a session with unclaimed work counts as running, so that whoever polls right after sending
    /// does not take "not started yet" for "finished". One that rests for a budget is ready at its reset, and idle until then.
    #[must_use]
    pub fn served_status(&self) -> Status {
        match self.status {
            Status::Idle
                if self.ready_at.is_some()
                    && self.hold.is_none()
                    && !self.quarantined
                    && self.archived_at.is_none() =>
            {
                Status::Running
            }
            status => status,
        }
    }
}
