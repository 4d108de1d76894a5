//! What a drive tells as spans. A span is made when the log tells its end, at that commit, with an id that follows from the event
//! that began it: whoever drives the session after a crash makes the spans that its predecessor could not, under the same ids.
//! Nothing here is made while nobody hears of it.

use std::collections::BTreeMap;

use perennial_engine::kernel::CallLane;
use perennial_engine::ports::{CallError, Order};
use perennial_schema::event::{Body, Draft, ErrorKind};
use perennial_schema::session::StopReason;
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, Timestamp, TraceParent, span_of};
use perennial_telemetry::{self as telemetry, Kind, Place, Span, names};

use super::Session;

/// What is known of spans beside the log.
#[derive(Default)]
pub(super) struct Tracing {
    /// Where the session is while this drive works on its turn.
    place: Option<Place>,
    /// When calls left that left from here; the log says only when they were asked for.
    sent: BTreeMap<EventId, Timestamp>,
}

impl Session {
    /// The trace of the turn: of the input that began it, if there was one, or else the turn's own.
    fn trace(&self) -> TraceParent {
        let own = || TraceParent::derived(self.key.session.uuid(), &format!("turn {}", self.state.turn));
        self.state.trace().unwrap_or_else(own)
    }

    /// The span of what has an id.
    fn span(&self, id: EventId) -> TraceParent {
        self.trace().with_span(span_of(id.uuid()))
    }

    /// Says to whoever works for this session where it is.
    pub(super) fn find_place(&mut self) {
        if !telemetry::enabled() {
            return;
        }
        let run = self.state.running.map(|id| self.span(id));
        if !matches!((&self.tracing.place, run), (Some(place), Some(run)) if place.is(run)) {
            self.tracing.place = None;
            self.tracing.place = run.map(|run| telemetry::enter(self.key.session, run, None));
        }
    }

    /// The same while the model is asked.
    pub(super) fn enter_step(&self) -> Option<Place> {
        let step = self.state.request.filter(|_| telemetry::enabled())?;
        let run = self.state.running.map(|id| self.span(id));
        Some(telemetry::enter(self.key.session, self.span(step), run))
    }

    /// Spans that end with these events. Asked before they are folded, told once they are in the log.
    pub(super) fn ending(&self, drafts: &[Draft]) -> Vec<Span> {
        if !telemetry::enabled() || !self.trace().sampled() {
            return Vec::new();
        }
        let failure = drafts.iter().find_map(|draft| match &draft.body {
            Body::SessionError(told) => Some(word_of(told.error.kind)),
            _ => None,
        });
        let ended = drafts.iter().filter_map(|draft| match &draft.body {
            Body::SpanModelRequestEnd(end) => self.step_over(end.is_error.then(|| failure.unwrap_or("superseded"))),
            Body::AgentToolResult(result) => self.tool_over(result.tool_use_id, result.is_error),
            Body::AgentMcpToolResult(result) => self.tool_over(result.mcp_tool_use_id, result.is_error),
            Body::SessionStatusIdle(idle) => self.run_over(&idle.stop_reason, failure),
            _ => None,
        });
        ended.collect()
    }

    /// A span that is over now, of what began with an event.
    fn over_now(&self, began: EventId, parent: Option<u64>, name: String) -> Span {
        let now = self.ports.clock.now();
        let start = made_at(began).unwrap_or(now);
        let span = Span::new(self.span(began), parent, name, Kind::Internal, (start, now));
        span.with(names::CONVERSATION, self.key.session.to_string())
    }

    /// The turn as far as it went without a pause.
    fn run_over(&self, stop: &StopReason, failure: Option<&'static str>) -> Option<Span> {
        let (agent, (_, provider)) = (&self.row.agent, &self.brain);
        let parent = self.state.trace().map(TraceParent::span);
        let gave_up = matches!(stop, StopReason::RetriesExhausted);
        let span = self
            .over_now(
                self.state.running?,
                parent,
                format!("{} {}", names::INVOKE_AGENT, agent.name),
            )
            .with(names::OPERATION, names::INVOKE_AGENT)
            .with(names::PROVIDER, provider.as_str())
            .with(names::REQUEST_MODEL, agent.model.id.as_str())
            .with(names::AGENT_ID, agent.id.to_string())
            .with(names::AGENT_NAME, agent.name.as_str())
            .with(names::AGENT_VERSION, agent.version.to_string())
            .with(names::HARNESS, agent.harness.to_string())
            .with(names::TURN, self.state.turn)
            .with(names::STOP_REASON, stop_word(stop));
        Some(span.failed(gave_up.then(|| failure.unwrap_or("retries_exhausted"))))
    }

    /// One step of the model, whatever asks it.
    fn step_over(&self, failure: Option<&'static str>) -> Option<Span> {
        let run = self.state.running.map(|id| span_of(id.uuid()));
        let span = self.over_now(self.state.request?, run, "worker.turn.step".to_owned());
        Some(span.failed(failure))
    }

    /// A call that was sent; one that never was, was no execution.
    fn tool_over(&self, call: EventId, is_error: Option<bool>) -> Option<Span> {
        let run = self.state.running.map(|id| span_of(id.uuid()));
        let call = self.state.open_call(call)?;
        let sent = call.dispatched.as_ref()?;
        let name = match &call.lane {
            CallLane::Mcp { tool, .. } => tool,
            _ => &call.name,
        };
        let mut span = self
            .over_now(call.id, run, format!("{} {name}", names::EXECUTE_TOOL))
            .with(names::OPERATION, names::EXECUTE_TOOL)
            .with(names::TOOL_NAME, name.as_str())
            .with(names::TOOL_CALL_ID, call.id.to_string())
            .with(names::ATTEMPT, sent.attempt);
        if let Some(left) = self.tracing.sent.get(&call.id) {
            span.start = *left;
        }
        let span = if matches!(call.lane, CallLane::Mcp { .. }) {
            span.with(names::TOOL_TYPE, names::EXTENSION)
                .with(names::MCP_METHOD, names::MCP_TOOLS_CALL)
        } else {
            span.with(names::TOOL_TYPE, names::FUNCTION)
                .with(names::EXECUTOR, sent.executor_id.to_string())
        };
        Some(span.failed((is_error == Some(true)).then_some("tool_error")))
    }

    /// An executor is asked for a call from here: begins its span. A call that another worker sent is only asked about.
    pub(super) fn leg(&mut self, order: &Order, anew: bool) -> Leg {
        if !telemetry::enabled() {
            return Leg(None);
        }
        let now = self.ports.clock.now();
        if anew {
            self.tracing.sent.entry(order.call_id).or_insert(now);
        }
        // What an MCP server is asked is the execution itself.
        if order.mcp.is_some() {
            return Leg(None);
        }
        let name = if anew { "router.call.send" } else { "router.call.settle" };
        let fresh = self.trace().with_span(span_of(self.ports.ids.uuid()));
        let parent = Some(span_of(order.call_id.uuid()));
        let span = Span::new(fresh, parent, name, Kind::Client, (now, now))
            .with(names::CONVERSATION, self.key.session.to_string())
            .with(names::TOOL_CALL_ID, order.call_id.to_string())
            .with(names::EXECUTOR, order.placement.executor_id.to_string());
        Leg(Some(span))
    }

    /// A call is over, and its times are told.
    pub(super) fn forget_call(&mut self, call: EventId) {
        self.tracing.sent.remove(&call);
    }
}

/// An executor that is asked for a call, until it answers. Dropped, it is told of by whoever asks again.
pub(super) struct Leg(Option<Span>);

impl Leg {
    /// It answered.
    pub(super) fn over(self, at: Timestamp, answer: &Result<Outcome, CallError>) {
        let Some(mut span) = self.0 else { return };
        span.end = at;
        let failure = match answer {
            Ok(_) => None,
            Err(CallError::Fenced) => Some("fenced"),
            Err(CallError::NotStarted(_)) => Some("not_started"),
            Err(CallError::NotSent(_)) => Some("not_sent"),
            Err(CallError::Unknown(_)) => Some("in_doubt"),
        };
        telemetry::record(span.failed(failure));
    }
}

/// When an id was made, to the millisecond.
fn made_at(id: EventId) -> Option<Timestamp> {
    let (seconds, nanos) = id.uuid().get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp::from_micros(micros + i64::from(nanos / 1000)))
}

const fn stop_word(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::EndTurn => "end_turn",
        StopReason::RequiresAction { .. } => "requires_action",
        StopReason::RetriesExhausted => "retries_exhausted",
        StopReason::BudgetReached => "budget_reached",
        StopReason::Refusal => "refusal",
    }
}

const fn word_of(error: ErrorKind) -> &'static str {
    match error {
        ErrorKind::ModelOverloadedError => "model_overloaded_error",
        ErrorKind::ModelRateLimitedError => "model_rate_limited_error",
        ErrorKind::ModelRequestFailedError => "model_request_failed_error",
        ErrorKind::BillingError => "billing_error",
        ErrorKind::McpConnectionFailedError => "mcp_connection_failed_error",
        ErrorKind::McpAuthenticationFailedError => "mcp_authentication_failed_error",
        ErrorKind::ToolUseLimitReachedError => "tool_use_limit_reached_error",
        ErrorKind::CompactionLimitReachedError => "compaction_limit_reached_error",
        ErrorKind::UnknownError => "_OTHER",
    }
}
