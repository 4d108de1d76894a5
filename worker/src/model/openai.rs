//! OpenAI-compatible Responses, streamed.
//!
//! * [`body`]: neutral conversation → request. Nothing is stored at the provider: every request carries the whole
//!   conversation, reasoning included, in its encrypted form.
//! * [`accumulator`]: stream events → previews and the finished step.

pub mod accumulator;
pub(crate) mod body;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use reqwest::header::{AUTHORIZATION, HeaderMap};

use self::accumulator::Accumulator;
use super::Provider;
use super::http::{Endpoint, Events, Http};

/// Whose native blocks these are.
pub const PROVIDER: &str = "openai";

/// Models remembered as having no encrypted reasoning.
const PLAIN_MODELS: usize = 256;

/// The adapter.
#[derive(Debug)]
pub(super) struct OpenAi {
    endpoint: Endpoint,
    /// Models that refuse to be asked for encrypted reasoning, as learned from their refusals.
    plain: Mutex<BTreeSet<String>>,
}

impl OpenAi {
    pub(super) fn new(provider: &Provider) -> Self {
        let who = "the OpenAI-compatible API";
        let endpoint = Endpoint::new(who, &provider.base_url, "/responses", provider.key.clone());
        Self {
            endpoint,
            plain: Mutex::default(),
        }
    }

    pub(super) async fn request(
        &self,
        http: &Http,
        model: &str,
        request: &ModelRequest,
        sink: &mut dyn DeltaSink,
    ) -> Result<ModelStep, ModelError> {
        self.stream(http, model, request, sink)
            .await
            .map_err(|error| self.endpoint.without_key(error))
    }

    async fn stream(
        &self,
        http: &Http,
        model: &str,
        request: &ModelRequest,
        sink: &mut dyn DeltaSink,
    ) -> Result<ModelStep, ModelError> {
        let mut events = self.begin(http, model, request).await?;
        let mut step = Accumulator::new();
        while let Some(data) = events.next().await? {
            // Some compatible servers end their streams as the older API does.
            if data == "[DONE]" || step.event(&data, sink)? {
                break;
            }
        }
        step.finish()
    }

    /// Models without reasoning refuse to be asked for it. They say so before any output, so they are asked again without;
    /// this is another wording of one request, not a retry.
    async fn begin(&self, http: &Http, model: &str, request: &ModelRequest) -> Result<Events, ModelError> {
        let plain = self
            .plain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(model);
        match self.post(http, body::encode(model, request, !plain)?).await {
            Err(error) if !plain && !error.retryable && refuses_reasoning(&error.message) => {
                let events = self.post(http, body::encode(model, request, false)?).await?;
                let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
                if plain.len() < PLAIN_MODELS {
                    plain.insert(model.to_owned());
                }
                Ok(events)
            }
            begun => begun,
        }
    }

    async fn post(&self, http: &Http, body: Vec<u8>) -> Result<Events, ModelError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = self.endpoint.key_header("Bearer ")? {
            headers.insert(AUTHORIZATION, key);
        }
        http.post(&self.endpoint, headers, body).await
    }
}

fn refuses_reasoning(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("encrypted content is not supported") || message.contains("reasoning.encrypted_content")
}
