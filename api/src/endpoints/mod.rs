//! One file per endpoint: what it takes, what it does through the ports, what it answers.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod environments;
pub(crate) mod events;
pub(crate) mod executors;
pub(crate) mod feed;
pub(crate) mod files;
pub(crate) mod gateway_keys;
pub(crate) mod health;
mod listing;
pub(crate) mod mailboxes;
pub(crate) mod mcp_tools;
pub(crate) mod metrics;
pub(crate) mod once;
pub(crate) mod openapi;
pub(crate) mod sessions;
pub(crate) mod usage;
pub(crate) mod webhooks;
pub(crate) mod work;
pub(crate) mod workers;

use perennial_engine::ports::{Append, AppendError, Appended, Idempotency, StoreError};
use perennial_schema::{AgentId, EnvironmentId};

use crate::accounts::{AccountsError, Earlier};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::APPEND_TRIES;

/// Appends; an unknown outcome is asked again under the same append id, which either finds the first commit or makes it (I2).
pub(crate) async fn append(app: &App, append: Append) -> Result<Appended, AppendError> {
    let mut tries = 1;
    loop {
        match app.ports.log.append(append.clone()).await {
            Err(AppendError::Store(StoreError::Unknown { message })) if tries < APPEND_TRIES => {
                tracing::warn!(session.id = %append.key.session, message, "asking again for the outcome of an append");
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Remembers a request that had nothing to change, so that its key cannot be used with another body.
pub(crate) async fn changed_nothing(
    app: &App,
    principal: Principal,
    idempotency: Option<Idempotency>,
    made: Earlier,
) -> Result<(), ApiError> {
    let Some(idempotency) = idempotency else { return Ok(()) };
    let (accounts, at) = (&app.ports.accounts, app.ports.clock.now());
    let workspace = principal.workspace;
    if accounts.recalled(workspace, &idempotency, at).await?.is_none() {
        accounts.remember(workspace, idempotency, made, at).await?;
    }
    Ok(())
}

/// An agent id in a path.
pub(crate) fn agent_id(text: &str) -> Result<AgentId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("agent", text))
}

/// An environment id in a path.
pub(crate) fn environment_id(text: &str) -> Result<EnvironmentId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("environment", text))
}

impl From<AccountsError> for ApiError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::NameTaken(_) => {
                Self::conflict(format!("name: {error}; choose another name or archive that one"))
            }
            AccountsError::VersionMoved => Self::conflict(
                "version: the agent was changed or archived meanwhile; read it again and repeat the update",
            ),
            AccountsError::KeyReused => Self::key_reused(),
            AccountsError::Store(store) => store.into(),
        }
    }
}
