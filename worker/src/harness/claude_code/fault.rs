//! How a turn of Claude Code ends that has no message, in the turn loop's terms.

use perennial_engine::ports::ModelError;
use perennial_schema::event::ErrorKind;

use super::events::Ending;
use crate::harness::fault::error;

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
