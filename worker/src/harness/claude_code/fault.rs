//! What goes wrong, in the turn loop's terms: what class of error, and whether another try may help.

use perennial_engine::ports::ModelError;
use perennial_schema::event::ErrorKind;

use super::events::Ending;

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

/// A turn that ended without the message we wait for. The harness's own retries are off: the turn loop's are logged.
pub(super) fn ended(ending: &Ending) -> ModelError {
    let said = ending.result.as_deref().unwrap_or("it did not say why");
    let message = format!("Claude Code ended the turn: {said}");
    match ending.api_error_status {
        Some(429) => error(ErrorKind::ModelRateLimitedError, message, true),
        Some(529) => error(ErrorKind::ModelOverloadedError, message, true),
        Some(402) => error(ErrorKind::BillingError, message, false),
        Some(status @ 400..=499) => error(ErrorKind::ModelRequestFailedError, message, matches!(status, 408 | 409)),
        // No status: the connection or the stream broke.
        Some(_) | None => error(ErrorKind::ModelRequestFailedError, message, true),
    }
}

fn error(kind: ErrorKind, message: impl Into<String>, retryable: bool) -> ModelError {
    ModelError {
        kind,
        message: message.into(),
        retryable,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_decide_class_and_retry() {
        for (status, kind, retryable) in [
            (Some(429), ErrorKind::ModelRateLimitedError, true),
            (Some(529), ErrorKind::ModelOverloadedError, true),
            (Some(500), ErrorKind::ModelRequestFailedError, true),
            (None, ErrorKind::ModelRequestFailedError, true),
            (Some(401), ErrorKind::ModelRequestFailedError, false),
            (Some(400), ErrorKind::ModelRequestFailedError, false),
            (Some(402), ErrorKind::BillingError, false),
        ] {
            let error = ended(&Ending {
                api_error_status: status,
                is_error: true,
                ..Ending::default()
            });
            assert_eq!((error.kind, error.retryable), (kind, retryable), "{status:?}");
        }
    }
}
