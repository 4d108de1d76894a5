//! The native harness: one model request per step.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelRequest, ModelStep};

use super::{Harness, Think};
use crate::limits;

/// Our own loop against a model API.
pub struct Native {
    model: Arc<dyn Model>,
}

impl Native {
    /// A harness that asks these models.
    #[must_use]
    pub fn new(model: Arc<dyn Model>) -> Self {
        Self { model }
    }
}

#[async_trait]
impl Harness for Native {
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let request = ModelRequest {
            session: ask.key.session,
            model: ask.agent.model.clone(),
            system: ask.agent.system.clone(),
            messages: ask.messages,
            tools: ask.tools.to_vec(),
            max_tokens: limits::MAX_TOKENS,
        };
        self.model.request(request, sink).await
    }

    async fn close(&mut self) {}
}
