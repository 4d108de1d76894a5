//! What goes wrong with any harness, in the turn loop's terms: what class of error, and whether another try may help.

use std::borrow::Cow;

use perennial_engine::ports::ModelError;
use perennial_schema::event::ErrorKind;

/// Somebody must change a setting.
pub(super) fn setup(message: impl Into<String>) -> ModelError {
    error(ErrorKind::ModelRequestFailedError, message, false)
}

/// Another try may help.
pub(super) fn transient(message: impl Into<String>) -> ModelError {
    error(ErrorKind::ModelRequestFailedError, message, true)
}

/// The harness does not see our tools as it should.
pub(super) fn tools(message: impl Into<String>) -> ModelError {
    error(ErrorKind::McpConnectionFailedError, message, true)
}

/// Any other.
pub(super) fn error(kind: ErrorKind, message: impl Into<String>, retryable: bool) -> ModelError {
    ModelError::new(kind, message, retryable)
}

/// Why a harness that is driven has no next step.
#[derive(Debug)]
pub(super) enum Broken {
    /// What runs is of no use any more, and nothing of a step was shown: start again from the log.
    Void(Cow<'static, str>),
    /// The attempt failed.
    Failed(ModelError),
}

impl Broken {
    /// Of no use any more, and why.
    pub(super) fn void(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Void(why.into())
    }
}

impl From<ModelError> for Broken {
    fn from(error: ModelError) -> Self {
        Self::Failed(error)
    }
}
