//! Accounts: workspaces, keys, agents (versioned) and environments. The port, and what it speaks in; `sql` implements it, on the
//! database `sqlite` or `postgres` names.

mod key;
mod mail;
pub mod postgres;
mod sql;
pub mod sqlite;

use async_trait::async_trait;
pub use key::{Secret, SecretHash};
pub use mail::MailAgents;
use perennial_engine::ports::{Idempotency, StoreError, TimeBounds};
use perennial_schema::agent::Agent;
use perennial_schema::environment::Environment;
use perennial_schema::file::File;
use perennial_schema::{AgentId, EnvironmentId, FileId, KeyId, Timestamp, WorkspaceId};

/// A stored key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id, part of the printed key.
    pub id: KeyId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// SHA-256 of the secret part.
    pub hash: SecretHash,
    /// Of the workspace the install was made with: its holder runs the servers.
    pub operates: bool,
}

/// A key of the workers of a self-hosted environment.
#[derive(Clone, Debug)]
pub struct EnvironmentKey {
    /// Its id, part of the printed key.
    pub id: KeyId,
    /// Whose.
    pub workspace: WorkspaceId,
    /// Whose workers.
    pub environment: EnvironmentId,
    /// For people.
    pub name: String,
    /// SHA-256 of the whole key.
    pub hash: SecretHash,
    /// Made at.
    pub created_at: Timestamp,
}

/// A change that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// Another unarchived environment has this name.
    #[error("an environment named {0:?} exists already")]
    NameTaken(String),
    /// Somebody else changed the agent first, or it is gone.
    #[error("the agent changed meanwhile")]
    VersionMoved,
    /// The idempotency key was used with another body.
    #[error("this idempotency key was used with another body")]
    KeyReused,
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of a change: the resource, and whether an earlier request under the same idempotency key had made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made<T> {
    /// As the change left it.
    pub resource: T,
    /// An earlier request did it.
    pub replayed: bool,
}

/// What an earlier request under an idempotency key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The agent's or environment's id.
    pub resource_id: String,
    /// The agent's version; 0 for an environment.
    pub version: u64,
}

impl Earlier {
    /// It left this version of an agent.
    #[must_use]
    pub fn agent(id: AgentId, version: u64) -> Self {
        Self {
            resource_id: id.to_string(),
            version,
        }
    }

    /// It made or changed this environment.
    #[must_use]
    pub fn environment(id: EnvironmentId) -> Self {
        Self {
            resource_id: id.to_string(),
            version: 0,
        }
    }
}

/// A listing of agents or environments, newest first.
#[derive(Clone, Debug)]
pub struct Listing<Id> {
    /// Bounds on creation.
    pub created: TimeBounds,
    /// Archived ones too.
    pub include_archived: bool,
    /// Strictly beyond this (creation time, id).
    pub cursor: Option<(Timestamp, Id)>,
    /// At most so many.
    pub limit: u32,
}

/// Workspaces, keys, agents and environments. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Makes sure there is a workspace, and a key that is known by its plaintext: with `known` naming a stored key nothing
    /// changes; otherwise a fresh key is made and its plaintext given back, once.
    async fn ensure_workspace_and_key(&self, known: Option<&Secret>, at: Timestamp) -> Result<Ensured, StoreError>;

    /// The same on a database that several servers share: a fresh key is made only when there is none at all. Of servers that
    /// start at the same moment one makes the workspace and the key; the others find them.
    async fn ensure_first_key(&self, known: Option<&Secret>, at: Timestamp) -> Result<Ensured, StoreError>;

    /// A key that is not revoked.
    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError>;

    /// Stores a login of the console, and forgets those made before `expired`.
    async fn add_login(
        &self,
        workspace: WorkspaceId,
        login: &Secret,
        at: Timestamp,
        expired: Timestamp,
    ) -> Result<(), StoreError>;

    /// A login that was made after `expired` and has not been ended.
    async fn login(&self, id: KeyId, expired: Timestamp) -> Result<Option<ApiKey>, StoreError>;

    /// Ends a login; a second time changes nothing.
    async fn end_login(&self, id: KeyId) -> Result<(), StoreError>;

    /// Stores a new agent (version 1).
    async fn create_agent(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError>;

    /// An agent, newest version unless told otherwise.
    async fn agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        version: Option<u64>,
    ) -> Result<Option<Agent>, StoreError>;

    /// The agent that takes mail under a name; of several the one made first.
    async fn agent_with_mail(&self, workspace: WorkspaceId, name: &str) -> Result<Option<Agent>, StoreError>;

    /// Agents that take mail, by name, then by age.
    async fn agents_with_mail(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<Agent>, StoreError>;

    /// Stores the version after `agent.snapshot.version - 1`, if that is still the newest.
    async fn put_agent_version(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError>;

    /// What an earlier request under this idempotency key came to, if there was one: asked before a change is judged, because
    /// a repetition must be answered even where the change would be refused by now.
    async fn recalled(
        &self,
        workspace: WorkspaceId,
        idempotency: &Idempotency,
        at: Timestamp,
    ) -> Result<Option<Earlier>, AccountsError>;

    /// Remembers a request that had nothing to change, so that its key cannot be used with another body.
    async fn remember(
        &self,
        workspace: WorkspaceId,
        idempotency: Idempotency,
        made: Earlier,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Archives; a second time changes nothing.
    async fn archive_agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Agent>, AccountsError>;

    /// Agents, newest version each.
    async fn agents(&self, workspace: WorkspaceId, listing: Listing<AgentId>) -> Result<Vec<Agent>, StoreError>;

    /// Versions of an agent below `before`, newest first.
    async fn agent_versions(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Agent>, StoreError>;

    /// Stores a new environment.
    async fn create_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Environment>, AccountsError>;

    /// An environment.
    async fn environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<Option<Environment>, StoreError>;

    /// Replaces an environment's fields. None when it is gone.
    async fn put_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Environment>, AccountsError>;

    /// Removes an environment; sessions keep the config they were made with. False when it was not there.
    async fn delete_environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<bool, StoreError>;

    /// Environments.
    async fn environments(
        &self,
        workspace: WorkspaceId,
        listing: Listing<EnvironmentId>,
    ) -> Result<Vec<Environment>, StoreError>;

    /// Stores a key of an environment's workers, unless there are [`ENVIRONMENT_KEYS`] already. One of this id that is there
    /// stays as it is.
    async fn add_environment_key(&self, key: &EnvironmentKey) -> Result<bool, StoreError>;

    /// Such a key, of an environment that still exists.
    async fn environment_key(&self, id: KeyId) -> Result<Option<EnvironmentKey>, StoreError>;

    /// All of an environment, newest first.
    async fn environment_keys(
        &self,
        workspace: WorkspaceId,
        environment: EnvironmentId,
    ) -> Result<Vec<EnvironmentKey>, StoreError>;

    /// Ends one. False when there is none.
    async fn end_environment_key(
        &self,
        workspace: WorkspaceId,
        environment: EnvironmentId,
        id: KeyId,
    ) -> Result<bool, StoreError>;

    /// Stores what is known of a new file, whose content is a blob by now.
    async fn create_file(
        &self,
        workspace: WorkspaceId,
        file: File,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<File>, AccountsError>;

    /// A file.
    async fn file(&self, workspace: WorkspaceId, id: FileId) -> Result<Option<File>, StoreError>;

    /// Files.
    async fn files(&self, workspace: WorkspaceId, listing: Listing<FileId>) -> Result<Vec<File>, StoreError>;

    /// Forgets a file; its blob stays as long as blobs do. False when there is none.
    async fn delete_file(&self, workspace: WorkspaceId, id: FileId) -> Result<bool, StoreError>;
}

/// Keys of one environment's workers.
pub const ENVIRONMENT_KEYS: u32 = 100;

/// What [`Accounts::ensure_workspace_and_key`] or [`Accounts::ensure_first_key`] found or made.
#[derive(Clone, Debug)]
pub struct Ensured {
    /// The one workspace.
    pub workspace: WorkspaceId,
    /// The known key is stored.
    pub known: bool,
    /// The plaintext of a fresh key, to be shown and kept once; none when the known key is good.
    pub fresh: Option<Secret>,
}
