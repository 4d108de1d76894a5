//! Where a piece of work belongs in a trace: the `traceparent` of W3C Trace Context.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A span of a trace, as it is passed on. Its flags say only whether the trace is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// Text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a traceparent, 00-TRACE-SPAN-FLAGS in lower-case hexadecimal digits")]
pub struct ParseTraceParentError;

impl TraceParent {
    /// The first span of a trace of its own, recorded, made of two fresh UUIDs.
    #[must_use]
    pub fn root(trace: Uuid, span: Uuid) -> Self {
        Self {
            trace: trace.as_u128().max(1),
            span: span_of(span),
            sampled: true,
        }
    }

    /// The trace of something that nobody began one for, the same whoever asks: `of` names whose it is, `name` which one.
    #[must_use]
    pub fn derived(of: Uuid, name: &str) -> Self {
        let trace = Uuid::new_v5(&of, name.as_bytes());
        Self::root(trace, trace)
    }

    /// Another span of the same trace.
    #[must_use]
    pub const fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// The trace.
    #[must_use]
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// The span.
    #[must_use]
    pub const fn span(self) -> u64 {
        self.span
    }

    /// Whether it is recorded.
    #[must_use]
    pub const fn sampled(self) -> bool {
        self.sampled
    }
}

/// The span of what has this id: its low half, which is random in a `UUIDv7` and never zero.
#[must_use]
pub fn span_of(id: Uuid) -> u64 {
    id.as_u64_pair().1.max(1)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    /// Versions after ours are read as far as ours goes, as the standard asks.
    fn from_str(text: &str) -> Result<Self, ParseTraceParentError> {
        let refuse = ParseTraceParentError;
        let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.splitn(5, '-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length && hex(part));
            part.ok_or(refuse)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(refuse);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| refuse)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| refuse)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| refuse)?;
        if trace == 0 || span == 0 {
            return Err(refuse);
        }
        Ok(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_what_came() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed: TraceParent = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        assert!(parsed.sampled());
        assert!(!text.replace("-01", "-00").parse::<TraceParent>().unwrap().sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let text = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-else";
        let parsed: TraceParent = text.parse().unwrap();
        assert_eq!(parsed.span(), 0xb7ad_6b71_6920_3331);
        assert!(parsed.sampled());
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(ParseTraceParentError), "{text}");
        }
    }

    #[test]
    fn a_derived_trace_is_everybodys() {
        let session = Uuid::from_u128(7);
        assert_eq!(
            TraceParent::derived(session, "turn 1"),
            TraceParent::derived(session, "turn 1")
        );
        assert_ne!(
            TraceParent::derived(session, "turn 1"),
            TraceParent::derived(session, "turn 2")
        );
    }
}
