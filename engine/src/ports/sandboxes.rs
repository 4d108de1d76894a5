//! Sandboxes: machines made for one session, with an executor in each that dials home (DESIGN §8).
//!
//! Two ports. [`Sandboxes`] remembers them: which session has which, how far each is, who uses it. [`Provisioner`] makes them: a
//! container, a pod, a process. Who reconciles the two lives in the router; neither port knows the other.
//!
//! A sandbox is wanted by one process and may be made by another one. What a process wants is in the row: that it uses the sandbox
//! from now until then, by the store's clock. Of a sandbox that is not made yet this asks for somebody who makes it, of a paused one
//! that it is started, of one that runs that it is not paused.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use perennial_schema::environment::{Container, Cpus};
use perennial_schema::{ExecutorCode, ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::{SessionKey, StoreError};

/// What a sandbox is made of, nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// A container image.
    pub image: String,
    /// Processors.
    pub cpu: Cpus,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk; none is as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Seconds without a call after which it is paused.
    pub idle_timeout: u32,
}

/// How far a sandbox is: `provisioning → ready ⇄ paused → gone | failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// It is being made, or its executor has not dialled home yet.
    Provisioning,
    /// It runs.
    Ready,
    /// It is stopped. Its files are kept.
    Paused,
    /// It is not wanted or not there any more; what is left of it is removed.
    Gone,
    /// It did not come to life, or is lost; what is left of it is removed.
    Failed {
        /// What became of it, as the end of a sentence that begins with it: `could not be made: no such image`.
        reason: String,
    },
}

impl SandboxState {
    /// Whether its session's calls go there.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Provisioning | Self::Ready | Self::Paused)
    }
}

/// How long a sandbox is used without saying so again.
pub const SANDBOX_USE: Duration = Duration::from_secs(30);

/// A sandbox. It is the machine of exactly one executor and goes by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The executor in it.
    pub executor: ExecutorId,
    /// The one session it is for.
    pub key: SessionKey,
    /// Whose provisioner makes it ([`SandboxHost`](super::SandboxHost)); none before one has taken it.
    pub instance: Option<ExecutorId>,
    /// What its environment says that it is made of; the rest is its host's choice.
    pub container: Container,
    /// How far it is.
    pub state: SandboxState,
    /// Grows with every change of the state or the instance: whoever changes it names the one it saw.
    pub revision: u64,
    /// When the state was changed last.
    pub changed_at: Timestamp,
    /// How long ago that was, by the store's clock.
    pub unchanged_for: Duration,
    /// Until when it is used, as far as anybody said.
    pub used_until: Timestamp,
    /// How long nobody has used it, by the store's clock; none while somebody does.
    pub unused_for: Option<Duration>,
    /// How often something was tried with it in vain.
    pub troubles: u64,
    /// What went wrong the last time, as a clause.
    pub trouble: Option<String>,
}

/// A sandbox to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSandbox {
    /// What its executor will be called.
    pub executor: ExecutorId,
    /// The session it is for.
    pub key: SessionKey,
    /// What its environment says that it is made of.
    pub container: Container,
    /// Who uses it from now on.
    pub by: OwnerId,
}

/// What is known of sandboxes. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// The live sandbox of a session: this one, provisioning and in use, unless it has one. Nobody makes it yet.
    async fn want(&self, new: NewSandbox) -> Result<Sandbox, StoreError>;

    /// Says that a process uses a sandbox of a workspace for [`SANDBOX_USE`] from now on. None when there is none. What it answers
    /// was so after this was said: one that was not paused then is not until it is unused.
    async fn hold(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        by: OwnerId,
    ) -> Result<Option<Sandbox>, StoreError>;

    /// The same of many that are used already; until when, of those that are known.
    async fn hold_all(&self, executors: &[ExecutorId], by: OwnerId)
    -> Result<Vec<(ExecutorId, Timestamp)>, StoreError>;

    /// A process has not used a sandbox for so long, and said last that it does until `held`. Nothing changes when it, or another
    /// process, said something else since.
    async fn release(
        &self,
        executor: ExecutorId,
        by: OwnerId,
        held: Timestamp,
        unused_for: Duration,
    ) -> Result<(), StoreError>;

    /// The live sandbox of a session.
    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError>;

    /// Whether a session has a live one, of whatever tenant.
    async fn houses(&self, session: SessionId) -> Result<bool, StoreError>;

    /// A sandbox by its executor. None when it is forgotten.
    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError>;

    /// All of an instance.
    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError>;

    /// Takes at most so many that are in use and that nobody makes yet, the oldest first: from now on they are this instance's.
    async fn adopt(&self, instance: ExecutorId, limit: u32) -> Result<Vec<Sandbox>, StoreError>;

    /// Whether something is to be done for an instance: one that somebody waits for, one that is over, one to adopt.
    async fn stirs(&self, instance: ExecutorId) -> Result<bool, StoreError>;

    /// Compare and set: the state of the sandbox if its revision still is this one, else none and nothing changes.
    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError>;

    /// The same to paused, if moreover it was ready and nobody has used it for so long.
    async fn pause(&self, executor: ExecutorId, revision: u64, idle: Duration) -> Result<Option<Sandbox>, StoreError>;

    /// Something was tried in vain: a clause for whoever waits.
    async fn trouble(&self, executor: ExecutorId, what: &str) -> Result<(), StoreError>;

    /// The same as [`Sandboxes::change`] to failed, if moreover its instance is lost
    /// ([`SandboxHost::lost`](super::SandboxHost)).
    async fn give_up(&self, executor: ExecutorId, revision: u64, reason: &str) -> Result<Option<Sandbox>, StoreError>;

    /// A session is over: its live sandbox is gone, whatever it was; none when it has none. Of whatever tenant: a session's id is
    /// nobody else's.
    async fn retire(&self, session: SessionId) -> Result<Option<ExecutorId>, StoreError>;

    /// Those that are not live and whose instance is lost, or which nobody ever took: whoever finds them forgets them. If the
    /// instance comes back, what is left of them there is a leftover.
    async fn abandoned(&self) -> Result<Vec<Sandbox>, StoreError>;

    /// Forgets one that is not live.
    async fn forget(&self, executor: ExecutorId) -> Result<(), StoreError>;
}

/// A sandbox as its provisioner is told to make it.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The executor in it.
    pub executor: ExecutorId,
    /// For people who look at containers.
    pub key: SessionKey,
    /// What it is made of.
    pub spec: SandboxSpec,
    /// Registers its executor, once.
    pub code: ExecutorCode,
}

/// What a provisioner sees of a sandbox that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was made, and never ran.
    Made,
    /// It runs.
    Running,
    /// It ran, and does not run now.
    Stopped {
        /// Why, as a clause.
        why: String,
    },
    /// Its files are left, and nothing that could run.
    Remains,
}

/// What a provisioner could not do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProvisionError(pub String);

/// Makes, stops and removes sandboxes of one instance; sees those alone, and touches nothing that it did not make. Everything may
/// be asked again: what is so already is left so.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// All that exist, running or not.
    async fn list(&self) -> Result<BTreeMap<ExecutorId, Seen>, ProvisionError>;

    /// Makes one and starts it.
    async fn create(&self, boot: &Boot) -> Result<(), ProvisionError>;

    /// Starts one that exists and does not run.
    async fn start(&self, executor: ExecutorId) -> Result<(), ProvisionError>;

    /// Stops one; its files stay.
    async fn stop(&self, executor: ExecutorId) -> Result<(), ProvisionError>;

    /// Removes one with all its files.
    async fn remove(&self, executor: ExecutorId) -> Result<(), ProvisionError>;
}
