//! Harnesses: what turns a rendered conversation into the model's next step.
//!
//! One call of [`Harness::think`] is one model step, whatever the harness, so the turn loop is the same for all: `native`
//! makes one model request; `claude-code` feeds the results into its live process and waits for its next message, or starts
//! a process from the rendered log. A harness holds nothing that the log does not: it may be thrown away at any time.

mod access;
pub mod claude_code;
mod fault;
mod native;
mod process;

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::kernel::Message;
use perennial_engine::ports::{DeltaSink, Model, ModelError, ModelStep, SessionKey, ToolSpec};
use perennial_schema::agent::{self, AgentSnapshot};
use perennial_schema::event::ErrorKind;

pub use access::{Access, Direct, Gate, Wire};
pub use native::Native;

/// What a harness is asked: one step.
#[derive(Debug)]
pub struct Think<'a> {
    /// Whose session.
    pub key: SessionKey,
    /// Model, system prompt.
    pub agent: &'a AgentSnapshot,
    /// Tools on offer.
    pub tools: &'a [ToolSpec],
    /// The whole conversation, rendered from the settled log: provider-valid, ends with the user's side.
    pub messages: Vec<Message>,
}

/// A brain.
#[async_trait]
pub trait Harness: Send {
    /// The model's next step. Dropping the future stops the request; afterwards only `close` may be called.
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError>;

    /// Ends whatever runs. Called when the session rests, parks, is interrupted or given up.
    async fn close(&mut self);
}

/// Makes harnesses.
pub trait Harnesses: Send + Sync {
    /// A fresh one of a kind.
    ///
    /// # Errors
    /// When this worker has none; the message says what to do.
    fn open(&self, kind: &agent::Harness) -> Result<Box<dyn Harness>, ModelError>;
}

/// The harnesses this worker has.
pub struct Installed {
    /// Models for the native loop.
    pub models: Arc<dyn Model>,
    /// How to run Claude Code.
    pub claude_code: claude_code::Settings,
}

impl Harnesses for Installed {
    fn open(&self, kind: &agent::Harness) -> Result<Box<dyn Harness>, ModelError> {
        Ok(match kind {
            agent::Harness::Native => Box::new(Native::new(self.models.clone())),
            agent::Harness::ClaudeCode => Box::new(claude_code::ClaudeCode::new(self.claude_code.clone())),
            agent::Harness::Codex | agent::Harness::Acp(_) => {
                return Err(ModelError::new(
                    ErrorKind::ModelRequestFailedError,
                    format!("this worker has no harness {kind}; give the agent native or claude-code"),
                    false,
                ));
            }
        })
    }
}
