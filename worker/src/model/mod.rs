//! Model APIs behind the engine's `Model` port: which provider a model id means, and what is spoken there.
//!
//! | id | goes to |
//! | --- | --- |
//! | `rehearsal-1` | [`rehearsal`], in this process |
//! | `claude-…`, `anthropic/…` | the provider `anthropic` |
//! | `PROVIDER/…` | a provider of that name |
//! | `openai/…`, anything else | the provider `openai` |
//!
//! A provider's wire decides the adapter: [`anthropic`] for Messages, [`openai`] for Responses, [`chat`] for Chat Completions.
//! A prefix ending in `/` is ours and is not sent. Every request goes through the model gateway, also the rehearsal's: that is
//! where keys are, and where requests are counted. Nothing here retries (the turn loop does) or reads settings (the caller
//! does); a model whose provider has no key is an error that names the setting, never silently the rehearsal.

pub mod anthropic;
pub mod chat;
mod content;
mod error;
pub(crate) mod frame;
pub(crate) mod http;
mod ids;
pub mod openai;
pub mod rehearsal;
#[cfg(test)]
pub(crate) mod testing;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::kernel::MessagePart;
use perennial_engine::ports::{Clock, DeltaSink, Ids, Model, ModelError, ModelRequest, ModelStep};
pub use perennial_gateway::Timeouts;
use perennial_gateway::{Caller, Credential, Forward, Gateway, Prices, Providers, Route, Wire};
use perennial_schema::Timestamp;
use perennial_schema::agent::ModelConfig;
use secrecy::SecretString;
use uuid::Uuid;

use self::anthropic::Anthropic;
use self::chat::Chat;
pub(crate) use self::content::as_text;
pub(crate) use self::error::{no_summary, of_status};
use self::http::{Http, Via};
use self::openai::OpenAi;
use self::rehearsal::Rehearsal;
pub use self::window::Windows;

/// Providers given by hand.
#[derive(Clone, Debug, Default)]
pub struct ModelSettings {
    /// Anthropic Messages.
    pub anthropic: Option<Provider>,
    /// OpenAI-compatible Responses.
    pub openai: Option<Provider>,
    /// OpenAI-compatible Chat Completions.
    pub chat: Option<Provider>,
    /// For all.
    pub timeouts: Timeouts,
}

/// Where a provider is and how it knows us.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Without the endpoint, e.g. [`perennial_gateway::OPENAI_BASE_URL`].
    pub base_url: String,
    /// Sent with each request; an empty one is not sent (local servers want none).
    pub key: SecretString,
}

/// Tokens a scripted answer reserves; it is known only when it is over.
const REHEARSED: u64 = 1_000;

/// Every model this process can ask.
pub struct Models {
    rehearsal: Rehearsal,
    http: Http,
    providers: Providers,
    adapters: BTreeMap<String, Adapter>,
    /// Counts what does not go through a gateway.
    counter: Arc<Gateway>,
}

/// A provider, by what it speaks.
#[derive(Debug)]
enum Adapter {
    Messages(Anthropic),
    Responses(OpenAi),
    Chat(Chat),
}

impl Adapter {
    fn new(name: &str, provider: &perennial_gateway::Provider, gateway: &Arc<dyn Forward>) -> Self {
        let via = Via {
            gateway: gateway.clone(),
            provider: name.to_owned(),
        };
        let place = Provider {
            base_url: provider.base_url.clone(),
            key: SecretString::default(),
        };
        match provider.wire {
            Wire::Messages => Self::Messages(Anthropic::new(&place).through(via)),
            Wire::Responses => Self::Responses(OpenAi::new(&place).through(via)),
            Wire::Chat => Self::Chat(Chat::new(&place).through(via)),
        }
    }
}

impl Models {
    /// The models these settings give, by way of a gateway that counts nothing. Connects to nothing.
    #[must_use]
    pub fn new(settings: &ModelSettings) -> Self {
        let named = [
            (perennial_gateway::ANTHROPIC, Wire::Messages, &settings.anthropic),
            (perennial_gateway::OPENAI, Wire::Responses, &settings.openai),
            ("chat", Wire::Chat, &settings.chat),
        ];
        let given = named.into_iter().filter_map(|(name, wire, provider)| {
            let Provider { base_url, key } = provider.clone()?;
            let provider = perennial_gateway::Provider::new(wire, base_url, Credential::Key(key));
            Some((name.to_owned(), provider))
        });
        let gateway = Arc::new(Gateway::new(perennial_gateway::Settings {
            providers: Providers::new(given.collect()),
            prices: Prices::default(),
            timeouts: settings.timeouts,
            metering: None,
            clock: Arc::new(Unstamped),
            ids: Arc::new(Unstamped),
        }));
        let forward: Arc<dyn Forward> = gateway.clone();
        Self::through(gateway.providers().clone(), &forward, gateway)
    }

    /// These providers' models, by way of a gateway. What needs none, `counter` counts.
    #[must_use]
    pub fn through(providers: Providers, gateway: &Arc<dyn Forward>, counter: Arc<Gateway>) -> Self {
        let adapters = providers.iter();
        let adapters = adapters.map(|(name, provider)| (name.to_owned(), Adapter::new(name, provider, gateway)));
        Self {
            rehearsal: Rehearsal::default(),
            http: Http::new(Timeouts::default()),
            adapters: adapters.collect(),
            providers,
            counter,
        }
    }

    /// The scripted model, counted like any other.
    async fn rehearse(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let caller = Caller::of(request.payer);
        let tokens = (length(&request) / 4, REHEARSED);
        let counted = self.counter.count(&caller, rehearsal::ID, tokens).await;
        let counted = counted.map_err(|refusal| http::not_passed_on(&refusal))?;
        match self.rehearsal.request(request, sink).await {
            Ok(step) => {
                counted.done(step.usage);
                Ok(step)
            }
            Err(error) => {
                counted.failed(error.message.clone());
                Err(error)
            }
        }
    }
}

/// Bytes of a conversation.
fn length(request: &ModelRequest) -> u64 {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let bytes = parts.map(|part| match part {
        MessagePart::Text(text) => text.len(),
        MessagePart::Content(block) => block.text().len(),
        MessagePart::Native(native) => native.block.text().len(),
        MessagePart::ToolUse { input, .. } => input.text().len(),
        MessagePart::ToolResult { content, .. } => content.text().len(),
    });
    bytes.sum::<usize>() as u64
}

/// Stamps nothing and names nothing: for a gateway that keeps no books.
struct Unstamped;

impl Clock for Unstamped {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

impl Ids for Unstamped {
    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }
}

/// Whose native blocks a model takes back, by the name they carry.
pub(crate) fn provider(providers: &Providers, id: &str) -> &'static str {
    let name = providers.route(id).provider;
    let wire = providers.get(name).map(|provider| provider.wire);
    match (name, wire) {
        (perennial_gateway::REHEARSAL, _) => "rehearsal",
        (_, Some(Wire::Messages)) | (perennial_gateway::ANTHROPIC, None) => anthropic::PROVIDER,
        (_, Some(Wire::Chat)) => chat::PROVIDER,
        (_, Some(Wire::Responses) | None) => openai::PROVIDER,
    }
}

/// The level of effort an agent asks for: a word, or an object with the word as its `type`.
pub(crate) fn effort(model: &ModelConfig) -> Option<String> {
    let effort: serde_json::Value = model.effort.as_ref()?.parse().ok()?;
    effort.as_str().or_else(|| effort["type"].as_str()).map(str::to_owned)
}

/// A provider that is not set up.
fn no_key(model: &str, provider: &str, setting: &str) -> ModelError {
    error::unusable(format!(
        "model {model:?} is served by the provider {provider:?}, for which no key is set: set {setting} where the server runs \
         and start it again, or give the agent the model {:?}, which needs no key",
        rehearsal::ID
    ))
}

#[async_trait]
impl Model for Models {
    async fn request(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let id = request.model.id.clone();
        let Route { provider, model } = self.providers.route(&id);
        if provider == perennial_gateway::REHEARSAL {
            return self.rehearse(request, sink).await;
        }
        if let Some(Credential::Missing { setting }) = self.providers.get(provider).map(|known| &known.credential) {
            return Err(no_key(&id, provider, setting));
        }
        let http = &self.http;
        match self.adapters.get(provider) {
            Some(Adapter::Messages(messages)) => messages.request(http, model, &request, sink).await,
            Some(Adapter::Responses(responses)) => responses.request(http, model, &request, sink).await,
            Some(Adapter::Chat(chat)) => chat.request(http, model, &request, sink).await,
            None => {
                let setting = if provider == perennial_gateway::ANTHROPIC {
                    "ANTHROPIC_API_KEY"
                } else {
                    "OPENAI_API_KEY"
                };
                Err(no_key(&id, provider, setting))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Recorder, request, said};
    use super::*;

    #[tokio::test]
    async fn a_missing_key_is_named() {
        let models = Models::new(&ModelSettings::default());
        for (model, setting) in [("claude-x", "ANTHROPIC_API_KEY"), ("gpt-x", "OPENAI_API_KEY")] {
            let asked = models
                .request(request(model, vec![said("hi")]), &mut Recorder::default())
                .await;
            let error = asked.unwrap_err();
            assert!(
                error.message.contains(setting) && error.message.contains(model),
                "{error}"
            );
            assert!(!error.retryable);
        }
        let step = models
            .request(request("rehearsal-1", vec![said("hi")]), &mut Recorder::default())
            .await;
        assert_eq!(step.unwrap().parts.len(), 1);
    }
}
