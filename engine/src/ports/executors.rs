//! The registry of executors: machines that dialled in, who they are, and where their tunnel is.
//!
//! A machine registers with a one-time code and has a token from then on. Each connection of its tunnel is a new generation; the
//! newest is the only one that counts, whichever process holds it. An executor is online while the process that holds its tunnel
//! says so often enough, by the store's clock.

use async_trait::async_trait;
use perennial_schema::frame::Card;
use perennial_schema::{
    ExecutorCode, ExecutorId, ExecutorPass, ExecutorSecretHash, ExecutorTicket, OwnerId, Timestamp, WorkspaceId,
};
use uuid::Uuid;

use super::StoreError;

/// How long a code opens anything, in milliseconds.
pub const EXECUTOR_CODE_MILLIS: u64 = 10 * 60 * 1000;
/// Heard of longer ago than this, in milliseconds, an executor is offline.
pub const EXECUTOR_ONLINE_MILLIS: u64 = 45 * 1000;

/// How long a pass or a ticket opens anything, in milliseconds.
pub const EXECUTOR_PASS_MILLIS: u64 = 30 * 1000;

/// How long a visit opens what it is for, in milliseconds.
pub const EXECUTOR_VISIT_MILLIS: u64 = 12 * 3600 * 1000;

/// What an executor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutorKind {
    /// Somebody's machine that dialled in.
    Device,
    /// A sandbox that a server made for a session.
    Sandbox,
}

/// An executor as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executor {
    /// Id.
    pub id: ExecutorId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// What a person calls it.
    pub name: String,
    /// What it is.
    pub kind: ExecutorKind,
    /// What it said of itself when it connected last; none before it first did.
    pub card: Option<Card>,
    /// SHA-256 of its token.
    pub hash: ExecutorSecretHash,
    /// How often it connected. The newest connection is the only one that counts.
    pub generation: u64,
    /// The process that holds its tunnel; none when it hung up.
    pub node: Option<OwnerId>,
    /// Where other processes reach that one; none when they do not.
    pub node_url: Option<String>,
    /// Its tunnel was held a moment ago.
    pub online: bool,
    /// When that was last said.
    pub last_seen_at: Option<Timestamp>,
    /// Registered at.
    pub created_at: Timestamp,
}

/// A registration code as it is stored: its plaintext is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCode {
    /// Chosen by who makes it; making the same id again changes nothing.
    pub id: Uuid,
    /// Tenant of what registers with it.
    pub workspace: WorkspaceId,
    /// SHA-256 of the plaintext.
    pub hash: ExecutorSecretHash,
    /// Opens nothing from then on.
    pub expires_at: Timestamp,
}

/// A code that was not made.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// An earlier request made it; its plaintext was shown then.
    #[error("this code exists already")]
    Exists(StoredCode),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fresh code, with the plaintext nobody will see again.
#[derive(Clone, Debug)]
pub struct MintedCode {
    /// As stored.
    pub stored: StoredCode,
    /// The plaintext.
    pub code: ExecutorCode,
}

/// A machine that registers.
#[derive(Clone, Debug)]
pub struct NewExecutor {
    /// Follows from the code, so that a registration whose answer was lost meets its own.
    pub id: ExecutorId,
    /// What a person calls it.
    pub name: String,
    /// What it is.
    pub kind: ExecutorKind,
    /// SHA-256 of its token.
    pub hash: ExecutorSecretHash,
}

/// A registration that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// There is no such code, it has expired, or another machine has used it.
    #[error("this code is unknown, expired or used")]
    NoSuchCode,
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Executors of a workspace, newest first.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorListing {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Strictly beyond this (registration time, id).
    pub cursor: Option<(Timestamp, ExecutorId)>,
    /// At most so many.
    pub limit: u32,
}

/// A tunnel that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldTunnel {
    /// Tenant.
    pub workspace: WorkspaceId,
    /// Whose.
    pub executor: ExecutorId,
    /// Which of its connections.
    pub generation: u64,
}

/// The registry. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait Executors: Send + Sync {
    /// Makes a code for a workspace, good for [`EXECUTOR_CODE_MILLIS`].
    async fn mint_code(&self, workspace: WorkspaceId, id: Uuid) -> Result<MintedCode, CodeError>;

    /// A code that was made, until some time after it expired.
    async fn code(&self, workspace: WorkspaceId, id: Uuid) -> Result<Option<StoredCode>, StoreError>;

    /// Takes a machine into the workspace of the code, which is used up. The same machine (same id and token) may say so again.
    async fn register(&self, code: ExecutorSecretHash, new: NewExecutor) -> Result<Executor, RegisterError>;

    /// The executor a token names, of whatever tenant: the token is compared by who asks.
    async fn holder(&self, id: ExecutorId) -> Result<Option<Executor>, StoreError>;

    /// An executor.
    async fn executor(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<Option<Executor>, StoreError>;

    /// Executors.
    async fn executors(&self, listing: ExecutorListing) -> Result<Vec<Executor>, StoreError>;

    /// Gives it another name. None when it is gone.
    async fn rename(&self, workspace: WorkspaceId, id: ExecutorId, name: &str) -> Result<Option<Executor>, StoreError>;

    /// Removes it: its token opens nothing any more, and whoever holds its tunnel learns it with the next [`Self::renew`]. False
    /// when it was not there.
    async fn remove(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<bool, StoreError>;

    /// A connection of its tunnel, held by the process `node`, which others reach at `url`: the next generation. None when it is
    /// gone.
    async fn connect(
        &self,
        workspace: WorkspaceId,
        id: ExecutorId,
        node: OwnerId,
        url: Option<&str>,
        card: &Card,
    ) -> Result<Option<u64>, StoreError>;

    /// What an executor says of itself now. Nothing changes if that connection does not count any more.
    async fn describe(&self, held: HeldTunnel, card: &Card) -> Result<(), StoreError>;

    /// Says that the tunnels of this process are alive. Answers with those that count: what it holds beside them was removed or
    /// connected anew elsewhere.
    async fn renew(&self, node: OwnerId) -> Result<Vec<HeldTunnel>, StoreError>;

    /// A tunnel ended. Nothing changes if a newer one has its place.
    async fn disconnect(&self, held: HeldTunnel) -> Result<(), StoreError>;

    /// Makes a pass for one line to an executor through the process that holds its tunnel, good for [`EXECUTOR_PASS_MILLIS`].
    async fn mint_pass(&self, id: ExecutorId) -> Result<ExecutorPass, StoreError>;

    /// Makes a ticket for one thing on an executor, good for [`EXECUTOR_PASS_MILLIS`].
    async fn mint_ticket(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError>;

    /// Makes a ticket for one thing on an executor that is good again and again, for [`EXECUTOR_VISIT_MILLIS`].
    async fn mint_visit(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError>;

    /// Whether a visit opens that, as of now. Uses nothing up.
    async fn is_visit(&self, id: ExecutorId, visit: ExecutorSecretHash) -> Result<bool, StoreError>;

    /// Uses a pass or a ticket up; false when it opens nothing, or another executor.
    async fn use_pass(&self, id: ExecutorId, pass: ExecutorSecretHash) -> Result<bool, StoreError>;
}
