//! Anthropic Messages, streamed.
//!
//! * [`body`]: neutral conversation → request.
//! * [`accumulator`]: raw stream events → previews and the finished step. Also used by harnesses that pass these events on.

pub mod accumulator;
pub(crate) mod body;
mod thinking;

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use perennial_schema::model::Usage;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use self::accumulator::Accumulator;
use super::Provider;
use super::frame::{Adapter, Encoded, Reader, Without, Wording};
use super::http::Endpoint;

/// Whose native blocks these are.
pub const PROVIDER: &str = "anthropic";

const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The adapter.
pub(super) type Anthropic = Adapter<Messages>;

/// How this API is spoken to.
#[derive(Debug)]
pub(super) struct Messages;

impl Anthropic {
    pub(super) fn new(provider: &Provider) -> Self {
        // Both habits of writing the base URL are common.
        let base = provider.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let endpoint = Endpoint::new("Anthropic", base, "/v1/messages", provider.key.clone());
        Self::at(endpoint, Messages)
    }
}

impl Wording for Messages {
    type Reader = Accumulator;

    fn encode(
        &self,
        endpoint: &Endpoint,
        model: &str,
        request: &ModelRequest,
        without: Without,
    ) -> Result<Encoded, ModelError> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = endpoint.key_header("")? {
            headers.insert(HeaderName::from_static("x-api-key"), key);
        }
        let (body, beta) = body::encode(model, request, without)?;
        if let Some(beta) = beta {
            headers.insert(
                HeaderName::from_static("anthropic-beta"),
                HeaderValue::from_static(beta),
            );
        }
        Ok(Encoded { body, headers })
    }

    fn reader(&self) -> Accumulator {
        Accumulator::new()
    }
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
