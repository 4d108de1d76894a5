//! WHAT IS TOLD AS TRACES: spans as values, their names, and where they go. Like the metrics facade: whoever does something says
//! so, and whoever composes the process says who hears it ([`install`]). As long as nobody does, a span costs one look at a flag.
//!
//! ```text
//! POST /v1/sessions/{session_id}/events        api      span: fresh · its traceparent is stored with the input
//! └─ invoke_agent NAME                         worker   span: of session.status_running, so that the next worker goes on with it
//!    ├─ worker.turn.step                       worker   span: of span.model_request_start
//!    │  └─ chat MODEL                          gateway  span: fresh
//!    └─ execute_tool NAME                      worker   span: of the tool use
//!       └─ router.call.send                    worker   span: fresh; one each time somebody asks its executor
//! ```
//!
//! Spans of what the log tells have ids that follow from the log's, and are made when it tells their end. A worker that dies
//! takes none with it that its successor does not make, under the same ids.
//!
//! No content is in any span: no prompt, no answer, no arguments, no results, no error texts. What has a name from OpenTelemetry
//! has it in [`names`], and nowhere else.

pub mod names;
mod places;
mod span;

use std::sync::OnceLock;

pub use places::{Place, enter, here};
pub use span::{Attribute, Kind, Span, Value};

/// Who hears of spans. Must return at once: it is called where things happen.
pub trait Sink: Send + Sync {
    /// A span has ended.
    fn record(&self, span: Span);
}

static SINK: OnceLock<Box<dyn Sink>> = OnceLock::new();

/// From now on spans of this process go there. False when they go somewhere else already.
pub fn install(sink: Box<dyn Sink>) -> bool {
    SINK.set(sink).is_ok()
}

/// Whether anybody hears of spans: ask before making one.
#[must_use]
pub fn enabled() -> bool {
    SINK.get().is_some()
}

/// Tells of a span that has ended, if its trace is recorded.
pub fn record(span: Span) {
    if let Some(sink) = SINK.get().filter(|_| span.context.sampled()) {
        sink.record(span);
    }
}
