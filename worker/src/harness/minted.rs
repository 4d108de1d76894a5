//! The gate of a worker with a model gateway: a virtual key for each harness process, good for its session's model alone, and
//! void when the process is gone.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{Metering, ModelError, Payer, SessionKey};
use perennial_gateway::{Credential, Gateway, Kind, Providers, REHEARSAL, Route, mint};
use perennial_schema::VirtualKey;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::event::ErrorKind;
use secrecy::{ExposeSecret as _, SecretString};

use super::fault;
use super::{Access, Gate, Wire};

/// Gives access by way of a gateway.
#[derive(Clone)]
pub struct Minted {
    /// Makes and revokes keys.
    pub metering: Arc<dyn Metering>,
    /// Who serves which model.
    pub providers: Providers,
    /// The gateway's root, which ends in `/llm`.
    pub root: String,
    /// The gateway, if it is in this process: it forgets a key at once.
    pub gateway: Option<Arc<Gateway>>,
}

/// What the harness's own tool names its models: a longer context is asked for by a header.
const LONG_CONTEXT: &str = "[1m]";

impl Minted {
    fn check(&self, agent: &AgentSnapshot, route: Route<'_>, wire: Wire) -> Result<(), ModelError> {
        let (harness, id) = (&agent.harness, &agent.model.id);
        let name = route.provider;
        if name == REHEARSAL {
            return Ok(());
        }
        let setting = |setting: &str| {
            fault::setup(format!(
                "the {harness} harness needs a key for the model {id:?}: set {setting} where the server runs and start it again"
            ))
        };
        let Some(provider) = self.providers.get(name) else {
            let missing = if name == perennial_gateway::ANTHROPIC {
                "ANTHROPIC_API_KEY"
            } else {
                "OPENAI_API_KEY"
            };
            return Err(setting(missing));
        };
        if !provider.wire.serves(wire) {
            return Err(fault::setup(format!(
                "the {harness} harness speaks {wire} to its model, and the provider {name:?} of the model {id:?} speaks {}; \
                 give the agent another model, or the harness native",
                provider.wire
            )));
        }
        match &provider.credential {
            Credential::Missing { setting: missing } => Err(setting(missing)),
            Credential::Key(_) | Credential::Keyless => Ok(()),
        }
    }
}

#[async_trait]
impl Gate for Minted {
    async fn admit(&self, session: SessionKey, agent: &AgentSnapshot, wire: Wire) -> Result<Access, ModelError> {
        let route = self.providers.route(&agent.model.id);
        self.check(agent, route, wire)?;
        let payer = Payer {
            workspace: session.workspace,
            session: Some(session.session),
            agent: Some(agent.id),
            key: None,
            aside: false,
        };
        let named = route.model.strip_suffix(LONG_CONTEXT).unwrap_or(route.model);
        let models = Some(vec![format!("{}/{named}", route.provider)]);
        let providers = Some(vec![route.provider.to_owned()]);
        let minted = mint(&*self.metering, payer, models, providers).await;
        let minted = minted.map_err(|refusal| ModelError {
            retry_after: refusal.retry_after,
            ..ModelError::new(
                ErrorKind::ModelRequestFailedError,
                refusal.whole(),
                refusal.kind == Kind::Store,
            )
        })?;
        let root = format!("{}/{}", self.root, route.provider);
        Ok(Access {
            base_url: match wire {
                Wire::Messages => root,
                Wire::Responses | Wire::Chat => format!("{root}/v1"),
            },
            key: SecretString::from(minted.secret.expose()),
            model: route.model.to_owned(),
        })
    }

    async fn withdraw(&self, access: Access) {
        let Ok(key) = access.key.expose_secret().parse::<VirtualKey>() else {
            return;
        };
        if let Some(gateway) = &self.gateway {
            gateway.forget(key.id);
        }
        // Its row says whose it is; the key itself does not.
        let revoked = match self.metering.key(key.id).await {
            Ok(Some(row)) => self.metering.revoke(row.workspace, key.id).await.map(|_| ()),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = revoked {
            tracing::warn!(%error, "a harness's key could not be revoked; it will expire");
        }
    }
}
