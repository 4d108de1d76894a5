//! Anthropic Messages, streamed.
//!
//! * [`body`]: neutral conversation → request.
//! * [`accumulator`]: raw stream events → previews and the finished step. Also used by harnesses that pass these events on.

pub mod accumulator;
pub(crate) mod body;

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use self::accumulator::Accumulator;
use super::Provider;
use super::http::{Endpoint, Http};

/// Whose native blocks these are.
pub const PROVIDER: &str = "anthropic";

const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The adapter.
#[derive(Debug)]
pub(super) struct Anthropic {
    endpoint: Endpoint,
}

impl Anthropic {
    pub(super) fn new(provider: &Provider) -> Self {
        // Both habits of writing the base URL are common.
        let base = provider.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        Self {
            endpoint: Endpoint::new("Anthropic", base, "/v1/messages", provider.key.clone()),
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
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = self.endpoint.key_header("")? {
            headers.insert(HeaderName::from_static("x-api-key"), key);
        }
        let mut events = http
            .post(&self.endpoint, headers, body::encode(model, request)?)
            .await?;
        let mut step = Accumulator::new();
        while let Some(data) = events.next().await? {
            if step.event(&data, sink)? {
                break;
            }
        }
        step.finish()
    }
}
