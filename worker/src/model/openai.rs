//! OpenAI-compatible Responses, streamed.
//!
//! * [`body`]: neutral conversation → request. Nothing is stored at the provider: every request carries the whole
//!   conversation, reasoning included, in its encrypted form.
//! * [`accumulator`]: stream events → previews and the finished step.

pub mod accumulator;
pub(crate) mod body;

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use perennial_schema::model::Usage;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use self::accumulator::Accumulator;
use super::Provider;
use super::frame::{Adapter, Encoded, Reader, Without, Wording};
use super::http::Endpoint;

/// Whose native blocks these are.
pub const PROVIDER: &str = "openai";

/// The adapter.
pub(super) type OpenAi = Adapter<Responses>;

/// How this API is spoken to.
#[derive(Debug)]
pub(super) struct Responses;

impl OpenAi {
    pub(super) fn new(provider: &Provider) -> Self {
        let who = "the OpenAI-compatible API";
        let endpoint = Endpoint::new(who, &provider.base_url, "/responses", provider.key.clone());
        Self::at(endpoint, Responses)
    }
}

impl Wording for Responses {
    type Reader = Accumulator;

    fn encode(
        &self,
        endpoint: &Endpoint,
        model: &str,
        request: &ModelRequest,
        without: Without,
    ) -> Result<Encoded, ModelError> {
        let headers = bearer(endpoint)?;
        let body = body::encode(model, request, without)?;
        Ok(Encoded { body, headers })
    }

    fn reader(&self) -> Accumulator {
        Accumulator::new()
    }
}

/// The key as OpenAI and its kin want it.
pub(super) fn bearer(endpoint: &Endpoint) -> Result<HeaderMap, ModelError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = endpoint.key_header("Bearer ")? {
        headers.insert(AUTHORIZATION, key);
    }
    Ok(headers)
}

impl Reader for Accumulator {
    fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<bool, ModelError> {
        Self::event(self, data, sink)
    }

    fn usage(&self) -> Usage {
        Self::usage(self)
    }

    fn finish(self) -> Result<ModelStep, ModelError> {
        Self::finish(self)
    }
}
