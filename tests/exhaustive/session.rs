//! What the model keeps of a session's log, and the kernel in small: fold a prefix, say what is next. Mirrors
//! `engine/src/kernel` for turns that ask for one tool each.

/// Mail messages, and calls the model makes, of the whole story.
pub(crate) const MAILS: u8 = 2;
pub(crate) const CALLS: u8 = 2;

/// Names one append of one lease; a client's append is named by its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AppendId {
    Mail(u8),
    Lease { epoch: u8, n: u8 },
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    Done,
    InDoubt,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Say {
    /// `mail.received`.
    Mail(u8),
    /// `span.model_request_start` with `input.processed` of all that is queued.
    Start,
    /// `span.model_request_end{is_error}`: the request of a dead attempt.
    Abandon,
    /// The model's step that asks for a tool, with `tool.dispatched` in the same commit.
    Use { call: u8, journal: u8 },
    /// `agent.tool_result`.
    Result { call: u8, outcome: Outcome },
    /// The model's last words of a turn.
    Final,
    /// `session.status_idle`.
    Idle,
}

/// An event as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Event {
    pub(crate) seq: u8,
    pub(crate) by: AppendId,
    pub(crate) say: Say,
}

/// A dispatched call without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) call: u8,
    pub(crate) journal: u8,
}

/// A prefix of the log, folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    /// Mail that waits for the next model request.
    pub(crate) queued: bool,
    /// Place of the open model request.
    pub(crate) request: Option<u8>,
    pub(crate) open: Option<Open>,
    pub(crate) calls: u8,
    /// The model has asked for its tool in this turn.
    pub(crate) called: bool,
    pub(crate) owes: bool,
    pub(crate) running: bool,
}

/// What a session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CloseRequest(u8),
    Call(Open),
    Think,
    /// True when the log does not say so yet.
    Rest(bool),
}

pub(crate) fn fold(log: &[Event]) -> Folded {
    let mut state = Folded::default();
    for event in log {
        match event.say {
            Say::Mail(_) => state.queued = true,
            Say::Start => {
                state.owes |= state.queued;
                state.queued = false;
                state.request = Some(event.seq);
                state.running = true;
            }
            Say::Abandon => state.request = None,
            Say::Use { call, journal } => {
                (state.request, state.owes, state.called) = (None, false, true);
                state.calls += 1;
                state.open = Some(Open { call, journal });
            }
            Say::Result { .. } => {
                state.open = None;
                state.owes = true;
            }
            Say::Final => (state.request, state.owes, state.called) = (None, false, false),
            Say::Idle => (state.running, state.owes) = (false, false),
        }
    }
    state
}

impl Folded {
    pub(crate) const fn next(&self) -> Step {
        if let Some(start) = self.request {
            return Step::CloseRequest(start);
        }
        match self.open {
            Some(open) => Step::Call(open),
            None if self.owes || self.queued => Step::Think,
            None => Step::Rest(self.running),
        }
    }
}
