//! Failed model requests: what a status or a provider's error type means, and what a person can do about it.
//!
//! Retry or not is decided by the class alone; how often and when is the turn loop's business.

use std::time::Duration;

use perennial_engine::ports::ModelError;
use perennial_schema::event::ErrorKind;

/// How much of a provider's message is kept, in bytes.
const MESSAGE_BYTES: usize = 2 * 1024;
/// Longest `retry-after` believed.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What providers call a context that is too long.
const TOO_LONG: [&str; 10] = [
    "prompt is too long",
    "context_length_exceeded",
    "context length",
    "context window",
    "context limit",
    "context size",
    "input is too long",
    "too many input tokens",
    "request_too_large",
    "reduce the length of",
];

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The key is wrong or may not do this.
    Refused,
    /// The request is wrong: the same one will fail again.
    Invalid,
    /// There is no such model, or no such address.
    NotFound,
    /// More context than the model takes.
    TooLong,
    /// Money.
    Billing,
    /// Too many requests.
    RateLimited,
    /// Too busy.
    Overloaded,
    /// Anything that may pass: server errors, time-outs, cut streams.
    Passing,
}

impl Class {
    pub(super) const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Refused,
            402 => Self::Billing,
            404 => Self::NotFound,
            408 | 409 | 425 => Self::Passing,
            429 => Self::RateLimited,
            503 | 529 => Self::Overloaded,
            500..=599 => Self::Passing,
            413 => Self::TooLong,
            _ => Self::Invalid,
        }
    }

    /// Providers name money, and a context that is too long, in a message or a code of other classes.
    pub(super) fn with_hint(self, text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        if matches!(self, Self::Invalid | Self::Passing) && TOO_LONG.iter().any(|hint| text.contains(hint)) {
            return Self::TooLong;
        }
        let billing = [
            "credit balance",
            "insufficient_quota",
            "billing_error",
            "billing hard limit",
        ];
        if billing.iter().any(|hint| text.contains(hint)) {
            Self::Billing
        } else {
            self
        }
    }

    const fn kind(self) -> ErrorKind {
        match self {
            Self::TooLong => ErrorKind::CompactionLimitReachedError,
            Self::Billing => ErrorKind::BillingError,
            Self::RateLimited => ErrorKind::ModelRateLimitedError,
            Self::Overloaded => ErrorKind::ModelOverloadedError,
            Self::Refused | Self::Invalid | Self::NotFound | Self::Passing => ErrorKind::ModelRequestFailedError,
        }
    }

    const fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Passing)
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "; check the API key and what it may use",
            Self::NotFound => "; check the agent's model id and the provider's base URL",
            Self::Billing => "; check the account's credit and plan",
            Self::TooLong | Self::Invalid | Self::RateLimited | Self::Overloaded | Self::Passing => "",
        }
    }

    /// The error: `what` says what happened, `detail` is the provider's own message.
    pub(super) fn error(self, what: &str, detail: &str) -> ModelError {
        let detail = detail.trim();
        let colon = if detail.is_empty() { "" } else { ": " };
        let message = format!("{what}{colon}{}{}", cut(detail), self.remedy());
        ModelError::new(self.kind(), message, self.retryable())
    }
}

/// A response whose status says that it failed.
pub(crate) fn of_status(who: &str, status: u16, retry_after: Option<Duration>, detail: &str) -> ModelError {
    let class = Class::of_status(status).with_hint(detail);
    let mut error = class.error(&format!("{who} answered with status {status}"), detail);
    error.retry_after = retry_after.map(|wait| wait.min(RETRY_AFTER));
    error
}

/// A response that makes no sense or is not whole.
pub(super) fn broken(what: impl AsRef<str>) -> ModelError {
    Class::Passing.error(what.as_ref(), "")
}

/// A request that can never work as things are set up.
pub(super) fn unusable(message: String) -> ModelError {
    ModelError::new(ErrorKind::ModelRequestFailedError, message, false)
}

/// An answer to the question for a summary without a word in it.
pub(crate) fn no_summary() -> ModelError {
    broken("the model was asked for a summary and gave none")
}

fn cut(text: &str) -> String {
    perennial_schema::text::head_and_tail(text, MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        let kind = |status| {
            let error = of_status("x", status, None, "");
            (error.kind, error.retryable)
        };
        for status in [400, 401, 403, 404, 422] {
            assert_eq!(kind(status), (ErrorKind::ModelRequestFailedError, false), "{status}");
        }
        for status in [408, 500, 502, 504] {
            assert_eq!(kind(status), (ErrorKind::ModelRequestFailedError, true), "{status}");
        }
        assert_eq!(kind(402), (ErrorKind::BillingError, false));
        assert_eq!(kind(429), (ErrorKind::ModelRateLimitedError, true));
        assert_eq!(kind(503), (ErrorKind::ModelOverloadedError, true));
        assert_eq!(kind(529), (ErrorKind::ModelOverloadedError, true));
    }

    #[test]
    fn a_context_that_is_too_long_is_told_from_its_words() {
        for (status, detail) in [
            (400, "prompt is too long: 210000 tokens > 200000 maximum"),
            (400, "input length and `max_tokens` exceed context limit: 1 + 2 > 3"),
            (
                400,
                "context_length_exceeded: Your input exceeds the context window of this model.",
            ),
            (
                400,
                "This model's maximum context length is 8192 tokens. However, you requested 9000",
            ),
            (413, "request_too_large: Request exceeds the maximum size"),
            (500, "the request exceeds the available context size"),
        ] {
            let error = of_status("x", status, None, detail);
            assert_eq!(
                (error.kind, error.retryable),
                (ErrorKind::CompactionLimitReachedError, false),
                "{detail}"
            );
        }
        let error = of_status(
            "x",
            429,
            None,
            "Request too large: context length counts on tokens per min",
        );
        assert_eq!((error.kind, error.retryable), (ErrorKind::ModelRateLimitedError, true));
    }

    #[test]
    fn money_is_told_from_its_words() {
        for (status, detail) in [
            (400, "Your credit balance is too low"),
            (429, "insufficient_quota: You exceeded"),
        ] {
            let error = of_status("x", status, None, detail);
            assert_eq!((error.kind, error.retryable), (ErrorKind::BillingError, false));
        }
    }

    #[test]
    fn messages_are_short_and_waits_believable() {
        let error = of_status("x", 500, Some(Duration::MAX), &"y".repeat(100_000));
        assert!(error.message.len() < 2_300);
        assert_eq!(error.retry_after, Some(RETRY_AFTER));
    }
}
