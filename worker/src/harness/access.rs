//! How a harness process reaches its model: an address and a key made for it, never a provider's own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{ModelError, SessionKey};
pub use perennial_gateway::Wire;
use perennial_schema::agent::AgentSnapshot;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use super::fault;

/// What one harness process needs to ask its model. Ends with [`Gate::withdraw`], or by itself after a while.
#[derive(Clone, Debug)]
pub struct Access {
    /// Base URL as the wire's official clients want it: for [`Wire::Messages`] without `/v1`, for the others with it.
    pub base_url: String,
    /// A key for this process alone.
    pub key: SecretString,
    /// The model's name on that wire: the agent's model id without our routing prefix.
    pub model: String,
}

/// Gives harness processes access to models.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Access to the agent's model for one process of one session.
    ///
    /// # Errors
    /// When the model does not speak this wire, has no provider, or a budget is used up; the message says what to do.
    async fn admit(&self, session: SessionKey, agent: &AgentSnapshot, wire: Wire) -> Result<Access, ModelError>;

    /// The process is gone: its key is void. Best effort.
    async fn withdraw(&self, access: Access);
}

/// An access that ends with its process: withdrawn at its end, or in the background when it is dropped.
pub(super) struct Admitted {
    gate: Arc<dyn Gate>,
    access: Option<Access>,
}

impl Admitted {
    /// Asks for access.
    pub(super) async fn at(
        gate: Arc<dyn Gate>,
        session: SessionKey,
        agent: &AgentSnapshot,
        wire: Wire,
    ) -> Result<(Self, Access), ModelError> {
        let access = gate.admit(session, agent, wire).await?;
        let admitted = Self {
            gate,
            access: Some(access.clone()),
        };
        Ok((admitted, access))
    }

    /// The process is gone.
    pub(super) async fn withdraw(mut self) {
        if let Some(access) = self.access.take() {
            self.gate.withdraw(access).await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let (Some(access), Ok(runtime)) = (self.access.take(), Handle::try_current()) {
            let gate = self.gate.clone();
            runtime.spawn(async move { gate.withdraw(access).await });
        }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").finish_non_exhaustive()
    }
}

/// Hands out the same address and key to everybody: a bare provider, or a scripted one in tests.
#[derive(Clone, Debug)]
pub struct Direct {
    /// Base URL, as in [`Access`].
    pub base_url: String,
    /// The key.
    pub key: SecretString,
}

#[async_trait]
impl Gate for Direct {
    async fn admit(&self, _: SessionKey, agent: &AgentSnapshot, wire: Wire) -> Result<Access, ModelError> {
        if self.key.expose_secret().is_empty() {
            let setting = match wire {
                Wire::Messages => "ANTHROPIC_API_KEY",
                Wire::Responses | Wire::Chat => "OPENAI_API_KEY",
            };
            return Err(fault::setup(format!(
                "the {} harness needs a key for its model: set {setting}",
                agent.harness
            )));
        }
        let id = &agent.model.id;
        let model = id.split_once('/').map_or(id.as_str(), |(_, model)| model);
        Ok(Access {
            base_url: self.base_url.clone(),
            key: self.key.clone(),
            model: model.to_owned(),
        })
    }

    async fn withdraw(&self, _: Access) {}
}
