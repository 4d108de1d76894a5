//! OpenAI-compatible Chat Completions, streamed: what local servers and routers speak (Ollama, vLLM, llama.cpp, LiteLLM,
//! OpenRouter, …).
//!
//! * [`body`]: neutral conversation → request. Has no word for what a model thought: that is not sent back.
//! * [`accumulator`]: chunks → previews and the finished step.

pub mod accumulator;
mod body;

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use perennial_schema::model::Usage;

use self::accumulator::Accumulator;
use super::Provider;
use super::frame::{Adapter, Encoded, Reader, Without, Wording};
use super::http::Endpoint;
use super::openai::bearer;

/// Whose thoughts these are; nobody takes them back.
pub const PROVIDER: &str = "chat";

/// The adapter.
pub(super) type Chat = Adapter<Completions>;

/// How this API is spoken to.
#[derive(Debug)]
pub(super) struct Completions {
    /// One of those that take documents and cache keys; others refuse what they do not know.
    is_vendor: bool,
}

impl Chat {
    pub(super) fn new(provider: &Provider) -> Self {
        let who = "the Chat Completions API";
        let endpoint = Endpoint::new(who, &provider.base_url, "/chat/completions", provider.key.clone());
        let known = ["://api.openai.com/", "://openrouter.ai/"];
        let is_vendor = known.iter().any(|host| endpoint.url.contains(host));
        Self::at(endpoint, Completions { is_vendor })
    }
}

impl Wording for Completions {
    type Reader = Accumulator;

    fn encode(
        &self,
        endpoint: &Endpoint,
        model: &str,
        request: &ModelRequest,
        mut without: Without,
    ) -> Result<Encoded, ModelError> {
        let headers = bearer(endpoint)?;
        without.documents |= !self.is_vendor;
        let cache_key = self.is_vendor.then(|| request.session.to_string());
        let body = body::encode(model, request, without, cache_key)?;
        Ok(Encoded { body, headers })
    }

    fn reader(&self) -> Accumulator {
        Accumulator::new()
    }
}

impl Reader for Accumulator {
    fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<bool, ModelError> {
        Self::event(self, data, sink).map(|()| false)
    }

    fn usage(&self) -> Usage {
        Self::usage(self)
    }

    fn finish(self) -> Result<ModelStep, ModelError> {
        Self::finish(self)
    }
}
