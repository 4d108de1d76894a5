//! How a turn of Claude Code ends that has no message, in the turn loop's terms and in words for people.
//!
//! The harness tells what its model answered in its own words, with advice for somebody at a terminal; ours name what can be
//! done here. Its own retries are off: the turn loop's are logged.

use perennial_engine::ports::ModelError;

use super::events::Ending;
use crate::harness::fault::{setup, transient};
use crate::model::of_status;

/// Advice that would mislead: it is for whoever has the terminal.
const ADVICE: [&str; 2] = [" This is a server-side issue", " · Please run /login"];
/// What the harness puts before the provider's own words.
const PREFIXES: [&str; 4] = [
    "Failed to authenticate.",
    "API Error:",
    "Request rejected (429) ·",
    "There's an issue with the selected model",
];

/// A turn that ended without the message we wait for.
pub(super) fn ended(ending: &Ending, model: &str) -> ModelError {
    let said = ending.result.as_deref().unwrap_or_default();
    let error = match ending.api_error_status {
        Some(404) => of_status(
            "the model's provider",
            404,
            None,
            &format!("no model {model} for this key"),
        ),
        Some(status) => of_status("the model's provider", status, None, words(said, Some(status))),
        None if said.contains("Not logged in") => setup("Claude Code got no key for its model; set ANTHROPIC_API_KEY"),
        // No status: the connection or the stream broke.
        None if said.is_empty() => transient("Claude Code ended the turn and did not say why"),
        None => transient(format!("Claude Code ended the turn: {}", words(said, None))),
    };
    error.with_refusal_found()
}

/// The provider's own words.
fn words(said: &str, status: Option<u16>) -> &str {
    let end = ADVICE.iter().filter_map(|advice| said.find(advice)).min();
    let mut said = &said[..end.unwrap_or(said.len())];
    let status = status.map(|status| status.to_string());
    let prefixes = PREFIXES.iter().copied().chain(status.as_deref());
    for prefix in prefixes {
        said = said.trim_start();
        said = said.strip_prefix(prefix).unwrap_or(said);
    }
    said.trim()
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::ErrorKind;

    use super::*;

    fn end(status: Option<u16>, result: &str) -> ModelError {
        let ending = Ending {
            api_error_status: status,
            is_error: true,
            result: Some(result.into()),
            ..Ending::default()
        };
        ended(&ending, "claude-x")
    }

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
            let error = end(status, "no");
            assert_eq!((error.kind, error.retryable), (kind, retryable), "{status:?}");
        }
        let long = end(Some(400), "Prompt is too long");
        assert_eq!(long.kind, ErrorKind::CompactionLimitReachedError);
    }

    /// The left side is what 2.1.197 says.
    #[test]
    fn the_words_are_the_providers() {
        for (status, said, words) in [
            (
                Some(401),
                "Failed to authenticate. API Error: 401 no such key",
                "the model's provider answered with status 401: no such key; check the API key and what it may use",
            ),
            (
                Some(429),
                "API Error: Request rejected (429) · slow down",
                "the model's provider answered with status 429: slow down",
            ),
            (
                Some(500),
                "API Error: 500 oops. This is a server-side issue, usually temporary — try again in a moment. If it persists, \
                 check your inference gateway (127.0.0.1:1).",
                "the model's provider answered with status 500: oops.",
            ),
            (
                Some(404),
                "There's an issue with the selected model (claude-x). It may not exist. Run --model to pick a different model.",
                "the model's provider answered with status 404: no model claude-x for this key; check the agent's model id and \
                 the provider's base URL",
            ),
            (
                None,
                "API Error: Unable to connect to API (ConnectionRefused)",
                "Claude Code ended the turn: Unable to connect to API (ConnectionRefused)",
            ),
            (
                None,
                "Not logged in · Please run /login",
                "Claude Code got no key for its model; set ANTHROPIC_API_KEY",
            ),
        ] {
            assert_eq!(end(status, said).message, words);
        }
    }
}
