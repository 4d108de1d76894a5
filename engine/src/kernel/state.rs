//! What a session is, folded from its events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use perennial_schema::event::{Native, Permission, Raw, ToolDispatched, Verdict};
use perennial_schema::model::StopKind;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{Attachment, EventId, MessageId, TraceParent};
use serde::{Deserialize, Serialize};

/// Grows whenever a change of the fold gives an old log another state; a snapshot of another version is thrown away.
pub const FOLD_VERSION: u32 = 5;

/// A session, folded up to `seq`. A snapshot is this value serialised; it is disposable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Number of the last folded event.
    pub seq: u64,
    /// Turn of the last folded event.
    pub turn: u64,
    /// Status as of the last status event.
    pub status: Status,
    /// Why it rests, when it does.
    pub stop: Option<StopReason>,
    /// The first event this build does not know: the session is set aside rather than guessed at.
    pub unknown: Option<UnknownEvent>,
    /// A model request that has begun and not ended: under way, or left by a dead attempt.
    pub request: Option<EventId>,
    /// An interrupt nobody has acted on.
    pub interrupt: Option<EventId>,
    /// What began the work that is under way; none at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<EventId>,
    /// Where the turn that is under way, or is awaited, belongs in a trace: as the first of its inputs said that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<TraceParent>,
    /// The conversation, in the order in which a model sees it.
    pub(super) entries: Vec<Entry>,
    /// Inputs that wait for the next model request.
    pub(super) queue: VecDeque<Queued>,
    /// Interrupts and confirmations that took effect but are not yet named in `input.processed`.
    pub(super) unnamed: Vec<EventId>,
    /// Messages that an interrupt overtook before any turn took them up: the turn it interrupts is theirs.
    pub(super) overtaken: Vec<EventId>,
    /// Calls without a result: where in `entries` each one is.
    pub(super) open: BTreeMap<EventId, Place>,
    /// Somebody spoke, or a tool answered, after the model's last word.
    pub(super) owes_reply: bool,
    /// Why the model's last finished step stopped.
    pub(super) last_stop: StopKind,
    /// Tokens of the last answered request, its answer included: what the context comes to. Zero after a compaction, until
    /// somebody has counted again.
    pub(super) context_tokens: u64,
    /// The request that is open, or was the last to fail, is for a summary: no answer to anybody.
    pub(super) compacting: bool,
    /// Who is asked, `harness/provider`; none before the first request.
    pub(super) brain: Option<Arc<str>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            seq: 0,
            turn: 0,
            status: Status::Idle,
            stop: None,
            unknown: None,
            request: None,
            interrupt: None,
            running: None,
            trace: None,
            entries: Vec::new(),
            queue: VecDeque::new(),
            unnamed: Vec::new(),
            overtaken: Vec::new(),
            open: BTreeMap::new(),
            owes_reply: false,
            last_stop: StopKind::EndTurn,
            context_tokens: 0,
            compacting: false,
            brain: None,
        }
    }
}

/// An event of a type this build does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownEvent {
    /// Its place.
    pub seq: u64,
    /// Its type.
    pub kind: String,
}

/// A piece of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Somebody spoke. Stands where it was named, not where it was stored.
    Input { seq: u64, content: Raw, from: Speaker },
    /// The model spoke, or asked for tools.
    Step(ModelTurn),
    /// What stands for everything that was compacted.
    Summary { text: String },
}

/// Who an input is from, as far as the model is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Speaker {
    User,
    System,
    Outcome,
    Mail {
        /// What an answer names.
        id: MessageId,
        from: String,
        subject: Option<String>,
    },
}

/// One step of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelTurn {
    /// Place of its first event.
    pub(super) seq: u64,
    /// Who made it, as far as the log says.
    pub(super) brain: Option<Arc<str>>,
    /// In the model's order.
    pub(super) parts: Vec<StepPart>,
    /// Nothing more can join it.
    pub(super) closed: bool,
}

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum StepPart {
    Thinking(Option<Native>),
    Text(Raw),
    Call(Box<Call>),
}

/// An input that waits for the next model request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) id: EventId,
    pub(super) content: Raw,
    pub(super) from: Speaker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<TraceParent>,
}

/// Where a call is in `entries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) entry: usize,
    pub(super) part: usize,
}

/// A tool call and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Event id of the tool use.
    pub id: EventId,
    /// The provider's id.
    pub native_id: Option<String>,
    /// Tool name.
    pub name: String,
    /// Input, a JSON object.
    pub input: Raw,
    /// Who answers it.
    pub lane: CallLane,
    /// The attached executor it is for, as it was attached when the model asked; none means where the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand: Option<Attachment>,
    /// What policy said.
    pub permission: Permission,
    /// What the model is told if policy refused.
    pub refusal: Option<String>,
    /// What a person said.
    pub confirmation: Option<Confirmation>,
    /// Where it was sent, if it was; the last dispatch counts.
    pub dispatched: Option<ToolDispatched>,
    /// What came of it; the first result counts.
    pub result: Option<CallResult>,
}

/// Which kind of event answers a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallLane {
    /// `agent.tool_use` → `agent.tool_result`.
    Builtin,
    /// `agent.tool_use` → `user.tool_result`: a self-hosted worker runs it, we never dispatch it.
    SelfHosted,
    /// `agent.mcp_tool_use` → `agent.mcp_tool_result`.
    Mcp {
        /// What the agent calls the server.
        server: String,
        /// What the server calls the tool.
        tool: String,
    },
    /// `agent.custom_tool_use` → `user.custom_tool_result`.
    Custom,
}

/// A person's word on a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// May it run?
    pub verdict: Verdict,
    /// What the model is told on deny.
    pub message: Option<String>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallResult {
    /// Content blocks, a JSON array.
    pub content: Raw,
    /// Whether it failed.
    pub is_error: bool,
}

impl State {
    /// Calls without a result, in the order the model asked for them.
    pub fn open_calls(&self) -> impl Iterator<Item = &Call> {
        let mut places: Vec<Place> = self.open.values().copied().collect();
        places.sort_unstable_by_key(|place| (place.entry, place.part));
        places.into_iter().filter_map(|place| self.call_at(place))
    }

    /// A call without a result.
    #[must_use]
    pub fn open_call(&self, id: EventId) -> Option<&Call> {
        self.open.get(&id).and_then(|place| self.call_at(*place))
    }

    /// The span that the turn which is under way, or comes next, is part of, if an input of it says so.
    #[must_use]
    pub fn trace(&self) -> Option<TraceParent> {
        let queued = || self.queue.iter().find_map(|queued| queued.trace);
        self.trace.or_else(queued)
    }

    /// Whether inputs wait for the next model request.
    #[must_use]
    pub fn has_queued_input(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether inputs go on waiting when the session rests now: all but those whose turn an interrupt ended before it began.
    #[must_use]
    pub fn has_input_beyond_rest(&self) -> bool {
        self.queue.iter().any(|queued| !self.overtaken.contains(&queued.id))
    }

    /// The turn the next model request belongs to: one more after an idle other than `requires_action`.
    #[must_use]
    pub const fn next_turn(&self) -> u64 {
        match (self.status, &self.stop) {
            (Status::Idle, Some(StopReason::RequiresAction { .. })) => self.turn,
            (Status::Idle, _) => self.turn + 1,
            _ => self.turn,
        }
    }

    /// Idle for any reason but an answer that is awaited: no turn is under way.
    pub(super) const fn at_rest(&self) -> bool {
        matches!(self.status, Status::Idle) && !matches!(self.stop, Some(StopReason::RequiresAction { .. }))
    }

    fn call_at(&self, place: Place) -> Option<&Call> {
        match self.entries.get(place.entry) {
            Some(Entry::Step(step)) => match step.parts.get(place.part) {
                Some(StepPart::Call(call)) => Some(call),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn call_at_mut(&mut self, place: Place) -> Option<&mut Call> {
        match self.entries.get_mut(place.entry) {
            Some(Entry::Step(step)) => match step.parts.get_mut(place.part) {
                Some(StepPart::Call(call)) => Some(call),
                _ => None,
            },
            _ => None,
        }
    }
}
