//! The native harness: one model request per step.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelRequest, ModelStep, Payer};

use super::{Harness, Think};
use crate::limits;
use crate::model::Windows;

/// Our own loop against a model API.
pub struct Native {
    model: Arc<dyn Model>,
    windows: Windows,
}

impl Native {
    /// A harness that asks these models.
    #[must_use]
    pub fn new(model: Arc<dyn Model>) -> Self {
        Self::within(model, Windows::default())
    }

    /// The same for models whose windows are set.
    #[must_use]
    pub fn within(model: Arc<dyn Model>, windows: Windows) -> Self {
        Self { model, windows }
    }
}

#[async_trait]
impl Harness for Native {
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let request = ModelRequest {
            session: ask.key.session,
            payer: Payer {
                workspace: ask.key.workspace,
                session: Some(ask.key.session),
                agent: Some(ask.agent.id),
                key: None,
                aside: false,
            },
            model: ask.agent.model.clone(),
            system: ask.agent.system.clone(),
            messages: ask.messages,
            tools: ask.tools.to_vec(),
            max_tokens: self.windows.answer(&ask.agent.model.id, limits::MAX_TOKENS),
        };
        self.model.request(request, sink).await
    }

    async fn close(&mut self) {}
}
