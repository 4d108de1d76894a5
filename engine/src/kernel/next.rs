//! `next`: what to do now, as a value. The worker performs it; nothing here acts.

use perennial_schema::EventId;
use perennial_schema::event::{Permission, Verdict};
use perennial_schema::model::StopKind;
use perennial_schema::session::{Status, StopReason};

use super::state::{Call, CallLane, State};

/// What a session does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A request was left open by a dead or superseded attempt: close its span as an error.
    CloseRequest(EventId),
    /// These calls end without running: close them with error results.
    Close(Vec<Close>),
    /// Run these calls (or settle them, where a dispatch is already in the log).
    Call(Vec<Call>),
    /// Ask the model.
    Think,
    /// The context has grown too large to ask: have what entered it at or before this seq summarised first.
    Compact {
        /// The seq.
        up_to: u64,
    },
    /// Wait for answers to these tool uses. `announce` is false when the session already says so.
    Await {
        /// Event ids of the tool uses.
        event_ids: Vec<EventId>,
        /// Append `session.status_idle{requires_action}`.
        announce: bool,
    },
    /// Nothing to do. The reason is absent when the session already rests.
    Rest(Option<StopReason>),
    /// This build does not understand the log: set the session aside.
    Quarantined,
}

/// A call that ends without running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Event id of the tool use.
    pub call_id: EventId,
    /// Why.
    pub reason: CloseReason,
}

/// Why a call ends without running (again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The user interrupted.
    Interrupted,
    /// Policy or a person said no; the text for the model.
    Denied(String),
    /// The session is a fork; the call belongs to the other one.
    Forked,
    /// It belongs to the server the session was imported from.
    Imported,
}

impl State {
    /// What to do now. While a request or calls of the caller's own are under way, the caller asks again after they end (or
    /// when an input arrives that may interrupt them).
    #[must_use]
    pub fn next(&self) -> Step {
        self.next_within(u64::MAX)
    }

    /// The same for a model whose context is to be compacted beyond so many tokens.
    #[must_use]
    pub fn next_within(&self, compact_at: u64) -> Step {
        if self.unknown.is_some() {
            return Step::Quarantined;
        }
        if self.status == Status::Terminated {
            return Step::Rest(None);
        }
        if let Some(start) = self.request {
            return Step::CloseRequest(start);
        }
        if self.interrupt.is_some() {
            return self.interrupted();
        }
        if let Some(step) = self.pending() {
            return step;
        }
        if self.owes_reply || !self.queue.is_empty() {
            let room = self.context_tokens <= compact_at;
            let cut = if room { None } else { self.worthwhile_cut() };
            return cut.map_or(Step::Think, |up_to| Step::Compact { up_to });
        }
        self.resting()
    }

    fn interrupted(&self) -> Step {
        if self.open.is_empty() {
            return self.resting();
        }
        let close = |call: &Call| Close {
            call_id: call.id,
            reason: CloseReason::Interrupted,
        };
        Step::Close(self.open_calls().map(close).collect())
    }

    fn resting(&self) -> Step {
        // A turn that was interrupted before it began ends like one that ran: whoever waits for it sees it end.
        let begun = self.interrupt.is_none() || self.overtaken.is_empty();
        // One that waits for a budget and is interrupted goes on no more.
        if self.at_rest() && begun && !self.owes_reply {
            return Step::Rest(None);
        }
        Step::Rest(Some(match self.last_stop {
            StopKind::Refusal if self.interrupt.is_none() => StopReason::Refusal,
            _ => StopReason::EndTurn,
        }))
    }

    /// What open calls need, if there are any.
    fn pending(&self) -> Option<Step> {
        let mut denied = Vec::new();
        let mut runnable = Vec::new();
        let mut waiting = Vec::new();
        for call in self.open_calls() {
            match fate(call) {
                Fate::Denied(message) => {
                    denied.push(Close {
                        call_id: call.id,
                        reason: CloseReason::Denied(message),
                    });
                }
                Fate::Runnable => runnable.push(call.clone()),
                Fate::Waiting => waiting.push(call.id),
            }
        }
        // Parked: the session stays idle until every id it named is answered (DESIGN §5).
        if let Some(StopReason::RequiresAction { .. }) = &self.stop
            && !waiting.is_empty()
        {
            return Some(Step::Await {
                event_ids: waiting,
                announce: false,
            });
        }
        if !denied.is_empty() {
            return Some(Step::Close(denied));
        }
        if !runnable.is_empty() {
            return Some(Step::Call(runnable));
        }
        (!waiting.is_empty()).then_some(Step::Await {
            event_ids: waiting,
            announce: true,
        })
    }
}

enum Fate {
    Denied(String),
    Runnable,
    Waiting,
}

fn fate(call: &Call) -> Fate {
    let denied =
        |message: &Option<String>, default: &str| Fate::Denied(message.clone().unwrap_or_else(|| default.to_owned()));
    match (call.permission, &call.confirmation) {
        (Permission::Deny, _) => denied(&call.refusal, "This tool is not allowed here."),
        (Permission::Ask, None) => Fate::Waiting,
        (Permission::Ask, Some(word)) if word.verdict == Verdict::Deny => {
            denied(&word.message, "The user declined this tool call.")
        }
        _ if matches!(call.lane, CallLane::Custom | CallLane::SelfHosted) => Fate::Waiting,
        _ => Fate::Runnable,
    }
}
