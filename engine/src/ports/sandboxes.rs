//! Sandboxes: machines made for one session, with an executor in each that dials home (DESIGN §8).
//!
//! Two ports. [`Sandboxes`] remembers them: which session has which, and how far each is. [`Provisioner`] makes them: a
//! container, a pod, a process. Who reconciles the two lives in the router; neither port knows the other.

use std::collections::BTreeMap;

use async_trait::async_trait;
use perennial_schema::environment::Cpus;
use perennial_schema::{ExecutorCode, ExecutorId, SessionId, Timestamp};
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
    /// It did not come to life; what is left of it is removed.
    Failed {
        /// Why, as a clause.
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

/// A sandbox. It is the machine of exactly one executor and goes by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The executor in it.
    pub executor: ExecutorId,
    /// The one session it is for.
    pub key: SessionKey,
    /// Whose provisioner makes it: the executor of the server's data directory.
    pub instance: ExecutorId,
    /// What it is made of.
    pub spec: SandboxSpec,
    /// How far it is.
    pub state: SandboxState,
    /// Grows with every change of the state: whoever changes it names the one it saw.
    pub revision: u64,
    /// When the state was changed last.
    pub changed_at: Timestamp,
}

/// A sandbox to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSandbox {
    /// What its executor will be called.
    pub executor: ExecutorId,
    /// The session it is for.
    pub key: SessionKey,
    /// Whose provisioner will make it.
    pub instance: ExecutorId,
    /// What it will be made of.
    pub spec: SandboxSpec,
}

/// What is known of sandboxes. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// The live sandbox of a session: this one, provisioning, unless it has one.
    async fn claim(&self, new: NewSandbox) -> Result<Sandbox, StoreError>;

    /// The live sandbox of a session.
    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError>;

    /// A sandbox by its executor. None when it is forgotten.
    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError>;

    /// All of an instance.
    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError>;

    /// Compare and set: the state of the sandbox if its revision still is this one, else none and nothing changes.
    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError>;

    /// A session is over: its live sandbox is gone, whatever it was. False when it has none. Of whatever tenant: a session's id is
    /// nobody else's.
    async fn retire(&self, session: SessionId) -> Result<bool, StoreError>;

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
