//! Virtual keys: what opens the gateway instead of a provider's key.

use perennial_schema::{AgentId, GatewayKeyId, SessionId, Timestamp, VirtualKey, VirtualKeyHash, WorkspaceId};

use crate::ports::StoreError;

/// What a virtual key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayKeyKind {
    /// One process of a vendor harness.
    Turn,
    /// A session's tools.
    Session,
    /// A person or program of the workspace.
    Workspace,
    /// An executor's host.
    Executor,
}

/// A virtual key as it is stored: its secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayKey {
    /// Id.
    pub id: GatewayKeyId,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// What for.
    pub kind: GatewayKeyKind,
    /// What a person calls it.
    pub name: String,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Only these providers.
    pub providers: Option<Vec<String>>,
    /// SHA-256 of the whole secret.
    pub hash: VirtualKeyHash,
    /// No good from then on.
    pub expires_at: Option<Timestamp>,
    /// No good since.
    pub revoked_at: Option<Timestamp>,
    /// Made at.
    pub created_at: Timestamp,
}

impl GatewayKey {
    /// Whether it opens anything at this time.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// A virtual key to make.
#[derive(Clone, Debug)]
pub struct NewGatewayKey {
    /// Chosen by the caller; none makes a fresh one. Making the same id again is [`MintError::Exists`].
    pub id: Option<GatewayKeyId>,
    /// Tenant.
    pub workspace: WorkspaceId,
    /// What for.
    pub kind: GatewayKeyKind,
    /// What a person calls it.
    pub name: String,
    /// On behalf of this session.
    pub session: Option<SessionId>,
    /// On behalf of this agent.
    pub agent: Option<AgentId>,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Only these providers.
    pub providers: Option<Vec<String>>,
    /// How long it is good, by the store's clock.
    pub ttl_millis: Option<u64>,
}

/// A key that was not made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// An earlier request made it; its secret was shown then.
    #[error("this key exists already")]
    Exists(Box<GatewayKey>),
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fresh virtual key, with the secret nobody will see again.
#[derive(Clone, Debug)]
pub struct Minted {
    /// As stored.
    pub key: GatewayKey,
    /// The plaintext.
    pub secret: VirtualKey,
}
