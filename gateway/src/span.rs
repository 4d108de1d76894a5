//! A model request as a span of its caller's trace, or as one of its own.

use std::borrow::Cow;

use perennial_schema::model::Usage;
use perennial_schema::{Timestamp, TraceParent, span_of};
use perennial_telemetry::{Kind, Span, names};
use uuid::Uuid;

use crate::books::{End, Line};

/// A request that is over.
pub(crate) struct Request<'a> {
    pub(crate) line: &'a Line,
    /// Names its span.
    pub(crate) fresh: Uuid,
    /// From when to when.
    pub(crate) time: (Timestamp, Timestamp),
    /// Seconds until the first piece of the answer.
    pub(crate) first: Option<f64>,
    pub(crate) usage: &'a Usage,
    pub(crate) failure: Option<Cow<'static, str>>,
}

impl Request<'_> {
    pub(crate) fn span(&self) -> Span {
        let line = self.line;
        let context = match line.parent {
            Some(parent) => parent.with_span(span_of(self.fresh)),
            None => TraceParent::root(self.fresh, self.fresh),
        };
        let usage = self.usage;
        let name = format!("{} {}", names::CHAT, line.model);
        let span = Span::new(
            context,
            line.parent.map(TraceParent::span),
            name,
            Kind::Client,
            self.time,
        )
        .with(names::OPERATION, names::CHAT)
        .with(names::PROVIDER, line.provider.as_str())
        .with(names::REQUEST_MODEL, line.model.as_str())
        .with(names::REQUEST_STREAM, line.streamed)
        .with(names::INPUT_TOKENS, usage.input_tokens.saturating_add(cached(usage)))
        .with(names::OUTPUT_TOKENS, usage.output_tokens)
        .with(names::CACHE_READ_TOKENS, usage.cache_read_input_tokens)
        .with(names::CACHE_CREATION_TOKENS, usage.cache_creation_input_tokens)
        .with_any(names::FIRST_CHUNK, self.first)
        .with_any(
            names::CONVERSATION,
            line.payer.session.map(|session| session.to_string()),
        )
        .with_any(names::AGENT_ID, line.payer.agent.map(|agent| agent.to_string()));
        span.failed(self.failure.clone())
    }
}

/// The conventions count what caches had among the tokens read.
const fn cached(usage: &Usage) -> u64 {
    usage
        .cache_read_input_tokens
        .saturating_add(usage.cache_creation_input_tokens)
}

/// Why it failed, in a word; never what the provider said.
pub(crate) fn failure(end: End, status: u16, failed: bool) -> Option<Cow<'static, str>> {
    Some(match (end, status) {
        (End::Heard, 200..=299) if !failed => return None,
        (End::Heard, 200..=299) => Cow::Borrowed("stream_error"),
        (End::Heard, status) => Cow::Owned(status.to_string()),
        (End::NeverLeft, _) => Cow::Borrowed("never_left"),
        (End::Cut, _) => Cow::Borrowed("cut"),
        (End::Left, _) => Cow::Borrowed("caller_left"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_word() {
        for (end, status, failed, word) in [
            (End::Heard, 200, false, None),
            (End::Heard, 200, true, Some("stream_error")),
            (End::Heard, 529, true, Some("529")),
            (End::Cut, 200, true, Some("cut")),
            (End::Left, 0, true, Some("caller_left")),
            (End::NeverLeft, 0, true, Some("never_left")),
        ] {
            assert_eq!(failure(end, status, failed).as_deref(), word);
        }
    }
}
