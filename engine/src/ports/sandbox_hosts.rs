//! Processes that make sandboxes: who they are, whether they are there, and what troubles them.
//!
//! An instance is an install's memory of what it made (a data directory with its container engine); the process that looks after it
//! is its host for as long as it says so often enough, by the store's clock. Two processes never look after one instance.

use std::time::Duration;

use async_trait::async_trait;
use perennial_schema::{ExecutorId, OwnerId};

use super::{SandboxSpec, StoreError};

/// Who nudges and hears nudges about sandboxes that are to be made, started or removed, whosever they are.
pub const SANDBOX_HOSTS: ExecutorId = ExecutorId::from_uuid(uuid::Uuid::from_u128(0x5a));
/// Heard of longer ago than this, a host is away.
pub const SANDBOX_HOST_ONLINE: Duration = Duration::from_secs(15);
/// Heard of longer ago than this, a host that has no live sandbox is none any more.
pub const SANDBOX_HOST_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSandboxHost {
    /// Whose sandboxes it makes.
    pub instance: ExecutorId,
    /// The process, by an id that nobody else has.
    pub node: OwnerId,
    /// The machine and folder that the instance is in, which is what people know it by: the next process there takes over at
    /// once, one elsewhere has a copy.
    pub home: String,
    /// The container engine, in a line; none before it answered.
    pub engine: Option<String>,
    /// Why none can be made now, as a clause.
    pub trouble: Option<String>,
    /// What a sandbox is made of here when its environment does not say.
    pub defaults: SandboxSpec,
    /// Heard of longer ago than this, it is lost, and its sandboxes with it.
    pub lost_after: Duration,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxHost {
    /// What it said last.
    pub host: NewSandboxHost,
    /// How long ago that was, by the store's clock.
    pub unseen_for: Duration,
}

impl SandboxHost {
    /// Whether it was there a moment ago.
    #[must_use]
    pub fn online(&self) -> bool {
        self.unseen_for < SANDBOX_HOST_ONLINE
    }

    /// Whether it is given up.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.unseen_for >= self.host.lost_after
    }
}

/// Who makes sandboxes. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait SandboxHosts: Send + Sync {
    /// Says that a host is there. False when another process looks after its instance: this one must not.
    async fn present(&self, host: &NewSandboxHost) -> Result<bool, StoreError>;

    /// An instance makes no sandboxes any more. Nothing changes while it has live ones.
    async fn resign(&self, instance: ExecutorId) -> Result<(), StoreError>;

    /// All that are, heard of last first.
    async fn sandbox_hosts(&self) -> Result<Vec<SandboxHost>, StoreError>;
}
