//! What goes wrong with any harness, in the turn loop's terms: what class of error, and whether another try may help.

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
