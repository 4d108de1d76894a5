//! Leases: who may write on behalf of a session, and for how long (I3, I10, I15).
//!
//! A lease is `(epoch, owner)` on the session row; its expiry lives on the owner's own row, so that renewal is one update
//! however many sessions are held. Expiry is judged by the log's clock only.

use async_trait::async_trait;
use perennial_schema::{ExecutorId, OwnerId};

use super::{Ready, SessionKey, SessionRow, StoreError};

/// A session that was just claimed; `row.epoch` is the new lease's epoch.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The row after the claim. `attempts` already counts the process death that preceded this claim, if one did.
    pub row: SessionRow,
}

/// A held session as of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub key: SessionKey,
    /// Epoch on the row; another than ours means the lease is lost.
    pub epoch: u64,
    /// Head of its log: how an interrupt is seen with the bus down.
    pub head: u64,
}

/// Which sessions an owner process can drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The executor whose workspaces it reaches: one per data directory of a host.
    pub place: Option<ExecutorId>,
    /// The harnesses it has, as agents name them. None: it claims whatever is ready, because nobody else could.
    pub harnesses: Option<Vec<String>>,
}

impl Reach {
    /// Whether it has a harness.
    #[must_use]
    pub fn has(&self, harness: &str) -> bool {
        let Some(harnesses) = &self.harnesses else {
            return true;
        };
        harnesses.iter().any(|name| name == harness)
    }

    /// Whether it reaches a workspace.
    #[must_use]
    pub fn reaches(&self, place: Option<ExecutorId>) -> bool {
        place.is_none() || place == self.place
    }
}

/// So long a ready session waits for an owner that has its agent's harness while there is none, in milliseconds: one that is
/// restarted or started for it is there by then. After that anybody claims it, and its turn says what is missing.
pub const HARNESS_PATIENCE_MILLIS: u64 = 30_000;

/// An owner whose row is gone or expired: every lease of it is void.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Self-evict.
    #[error("the owner's lease has expired")]
    Expired,
    /// Could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Claim, renew, release.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Announces an owner process with a time to live.
    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError>;

    /// Claims up to `limit` ready sessions, fairly across workspaces: epoch + 1, owner set. A session with a workspace at
    /// some place is claimed by owners of that place only, and one whose agent wants a harness by owners that have it; while
    /// none of those is alive and active, it waits for [`HARNESS_PATIENCE_MILLIS`] and is then anybody's. Where the store has
    /// a number of slots per workspace, a workspace never has more sessions held at once. Before that, sessions of dead
    /// owners are freed: each counts one attempt, and from the third on `ready_at` moves by a doubling delay
    /// (`retry::attempt_delay_millis`) instead of being claimed at once. Sessions in `pass_by` are left for others, and stand
    /// in nobody's way: an owner that cannot understand them yields them to one that can.
    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError>;

    /// Extends the owner's row and reads the heads of its sessions.
    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError>;

    /// Gives a lease back without an event (drain, nothing to do); no attempt is counted. A stale epoch changes nothing and
    /// is no error: the lease is already somebody else's. `only_at_head`: when the head is elsewhere the session stays ready
    /// whatever `ready` says (no lost wake-up, I10).
    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError>;

    /// Ends an owner: its row goes, its remaining leases are freed without counting an attempt (drain).
    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError>;

    /// How many sessions are ready now, and in how many milliseconds the next becomes ready (for the sweep's timer).
    async fn ready(&self) -> Result<ReadyCount, StoreError>;
}

/// What there is to claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyCount {
    /// Ready and unheld now.
    pub now: u64,
    /// Milliseconds until the next one, when none is ready now.
    pub next_millis: Option<u64>,
}
