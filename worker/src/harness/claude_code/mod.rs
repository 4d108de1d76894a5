//! Placeholder until the driver lands.
use super::{Harness, Think};
use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep};
/// Settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {}
/// Driver.
pub struct ClaudeCode {}
impl ClaudeCode {
    /// New.
    pub fn new(_settings: Settings) -> Self {
        Self {}
    }
}
#[async_trait]
impl Harness for ClaudeCode {
    async fn think(&mut self, _ask: Think<'_>, _sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        Err(ModelError {
            kind: perennial_schema::event::ErrorKind::ModelRequestFailedError,
            message: "not built in".into(),
            retryable: false,
            retry_after: None,
        })
    }
    async fn close(&mut self) {}
}
