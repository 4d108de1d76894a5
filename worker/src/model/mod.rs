//! Model APIs behind the engine's `Model` port: which implementation a model id means, and what it needs.
//!
//! | id | goes to |
//! | --- | --- |
//! | `rehearsal-1` | [`rehearsal`], in this process |
//! | `claude-…`, `anthropic/…` | [`anthropic`]: Anthropic Messages |
//! | `openai/…`, anything else | [`openai`]: an OpenAI-compatible Responses endpoint |
//!
//! A prefix ending in `/` is ours and is not sent. Nothing here retries (the turn loop does) or reads settings (the caller
//! does); a model whose provider has no key is an error that names the setting, never silently the rehearsal.

pub mod anthropic;
mod error;
pub(crate) mod http;
mod ids;
pub mod openai;
pub mod rehearsal;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelRequest, ModelStep};
use perennial_schema::agent::ModelConfig;
use secrecy::SecretString;

use self::anthropic::Anthropic;
use self::http::Http;
use self::openai::OpenAi;
use self::rehearsal::Rehearsal;

/// Base URL of Anthropic's API.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// Base URL of OpenAI's API.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// Which providers there are.
#[derive(Clone, Debug, Default)]
pub struct ModelSettings {
    /// Anthropic Messages.
    pub anthropic: Option<Provider>,
    /// OpenAI-compatible Responses.
    pub openai: Option<Provider>,
    /// For both.
    pub timeouts: Timeouts,
}

/// Where a provider is and how it knows us.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Without the endpoint, e.g. [`OPENAI_BASE_URL`].
    pub base_url: String,
    /// Sent with each request; an empty one is not sent (local servers want none).
    pub key: SecretString,
}

/// How long a provider may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// Before the response begins, and between two pieces of it. There is no limit on the whole.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(300),
        }
    }
}

/// Every model this process can ask.
#[derive(Debug)]
pub struct Models {
    rehearsal: Rehearsal,
    http: Http,
    anthropic: Option<Anthropic>,
    openai: Option<OpenAi>,
}

impl Models {
    /// The models these settings give. Connects to nothing.
    #[must_use]
    pub fn new(settings: &ModelSettings) -> Self {
        Self {
            rehearsal: Rehearsal::default(),
            http: Http::new(settings.timeouts),
            anthropic: settings.anthropic.as_ref().map(Anthropic::new),
            openai: settings.openai.as_ref().map(OpenAi::new),
        }
    }
}

/// Whose model an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Rehearsal,
    Anthropic(&'a str),
    OpenAi(&'a str),
}

fn route(id: &str) -> Route<'_> {
    if id == rehearsal::ID {
        Route::Rehearsal
    } else if let Some(model) = id.strip_prefix("anthropic/") {
        Route::Anthropic(model)
    } else if let Some(model) = id.strip_prefix("openai/") {
        Route::OpenAi(model)
    } else if id.starts_with("claude-") {
        Route::Anthropic(id)
    } else {
        Route::OpenAi(id)
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
        "model {model:?} is served by {provider}, for which no key is set: set {setting} where the server runs and start it \
         again, or give the agent the model {:?}, which needs no key",
        rehearsal::ID
    ))
}

#[async_trait]
impl Model for Models {
    async fn request(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let id = request.model.id.clone();
        match route(&id) {
            Route::Rehearsal => self.rehearsal.request(request, sink).await,
            Route::Anthropic(model) => match &self.anthropic {
                Some(anthropic) => anthropic.request(&self.http, model, &request, sink).await,
                None => Err(no_key(&id, "Anthropic", "ANTHROPIC_API_KEY")),
            },
            Route::OpenAi(model) => match &self.openai {
                Some(openai) => openai.request(&self.http, model, &request, sink).await,
                None => Err(no_key(&id, "an OpenAI-compatible API", "OPENAI_API_KEY")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Recorder, request, said};
    use super::*;

    #[test]
    fn ids_find_their_provider() {
        assert_eq!(route("rehearsal-1"), Route::Rehearsal);
        assert_eq!(route("claude-x"), Route::Anthropic("claude-x"));
        assert_eq!(route("anthropic/other"), Route::Anthropic("other"));
        assert_eq!(route("openai/claude-x"), Route::OpenAi("claude-x"));
        assert_eq!(route("openai/openai/gpt-oss"), Route::OpenAi("openai/gpt-oss"));
        assert_eq!(route("meta/llama"), Route::OpenAi("meta/llama"));
        assert_eq!(route("rehearsal-2"), Route::OpenAi("rehearsal-2"));
    }

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
