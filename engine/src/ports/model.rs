//! The model: one request, streamed.

use std::time::Duration;

use async_trait::async_trait;
use perennial_schema::agent::ModelConfig;
use perennial_schema::event::{ErrorKind, Native, Raw};
pub use perennial_schema::model::StopKind;
use perennial_schema::model::Usage;
use perennial_schema::{EventId, SessionId};

use super::{BudgetRefusal, Payer, ToolSpec};
use crate::kernel::Message;

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Whose conversation it is: a provider's cache key, and never more than a key.
    pub session: SessionId,
    /// Who pays.
    pub payer: Payer,
    /// Which model and how.
    pub model: ModelConfig,
    /// System prompt.
    pub system: Option<String>,
    /// The conversation, provider-valid by construction.
    pub messages: Vec<Message>,
    /// Tools on offer.
    pub tools: Vec<ToolSpec>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
}

/// One step of the model: what it said and which tools it asks for, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStep {
    /// In the model's order.
    pub parts: Vec<Part>,
    /// Tokens.
    pub usage: Usage,
    /// Why it stopped.
    pub stop: StopKind,
}

/// A part of a step. The id is that of the event it becomes; it was allocated when the part began, so previews carry it.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Thinking; only its native form exists.
    Thinking {
        /// Event id.
        id: EventId,
        /// Replayed byte for byte.
        native: Native,
    },
    /// Text.
    Text {
        /// Event id.
        id: EventId,
        /// The text.
        text: String,
    },
    /// A tool call.
    ToolUse {
        /// Event id, and so the call id.
        id: EventId,
        /// The provider's id.
        native_id: String,
        /// Tool name.
        name: String,
        /// A JSON object, verbatim.
        input: Raw,
    },
}

/// A model request that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// Class for `session.error`.
    pub kind: ErrorKind,
    /// For a person: what failed and what to do.
    pub message: String,
    /// Another try may help.
    pub retryable: bool,
    /// The provider's `retry-after`.
    pub retry_after: Option<Duration>,
    /// A budget has no room for the request: the session is parked instead of tried again.
    pub budget: Option<BudgetRefusal>,
}

impl ModelError {
    /// A failure that says nothing about when to try again.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>, retryable: bool) -> Self {
        Self {
            kind,
            message: message.into(),
            retryable,
            retry_after: None,
            budget: None,
        }
    }

    /// A budget has no room for the request.
    #[must_use]
    pub fn exhausted(refusal: BudgetRefusal, message: impl Into<String>) -> Self {
        Self {
            budget: Some(refusal),
            ..Self::new(ErrorKind::BillingError, message, false)
        }
    }

    /// Recognizes a budget's refusal in the words of a harness that only passes on what it was told.
    #[must_use]
    pub fn with_refusal_found(self) -> Self {
        match BudgetRefusal::find(&self.message) {
            Some(refusal) if self.budget.is_none() => Self::exhausted(refusal, self.message),
            _ => self,
        }
    }
}

/// Hears a step while it is being made. Ids are allocated here.
pub trait DeltaSink: Send {
    /// A text or thinking part begins; returns the id of the event it will become.
    fn start(&mut self, thinking: bool) -> EventId;

    /// More text of a text part.
    fn text(&mut self, id: EventId, text: &str);

    /// An id for a part that has no preview (a tool use).
    fn id(&mut self) -> EventId;

    /// What the request has used so far, as the provider says: a total, which counts if the request comes to nothing.
    fn used(&mut self, _usage: Usage) {}
}

/// A model API.
#[async_trait]
pub trait Model: Send + Sync {
    /// Makes one request. Dropping the future cancels it. Does not retry: the turn loop does.
    async fn request(&self, request: ModelRequest, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError>;
}
