//! `apply`: one event more. Total and infallible: every prefix of every log folds, whatever wrote it (I8).

use perennial_schema::EventId;
use perennial_schema::content::Block;
use perennial_schema::event::{Body, DefineOutcome, Event, ModelRequestEnd, Permission, Private, Raw};
use perennial_schema::mcp::tool_name;
use perennial_schema::model::StopKind;
use perennial_schema::session::{Status, StopReason};

use super::state::{
    Call, CallLane, CallResult, Confirmation, Entry, ModelTurn, Place, Queued, Speaker, State, StepPart, UnknownEvent,
};

impl State {
    /// Folds a whole log, or a tail onto a snapshot.
    pub fn fold<'a>(mut self, events: impl IntoIterator<Item = &'a Event>) -> Self {
        for event in events {
            self.apply(event);
        }
        self
    }

    /// Folds one event.
    pub fn apply(&mut self, event: &Event) {
        self.seq = event.seq;
        self.turn = self.turn.max(event.turn);
        let (id, private) = (event.id, &event.private);
        match &event.body {
            Body::UserMessage(message) => self.enqueue(event, &message.content, Speaker::User),
            Body::SystemMessage(message) => self.enqueue(event, &message.content, Speaker::System),
            Body::UserDefineOutcome(outcome) => self.enqueue(event, &content_of(outcome), Speaker::Outcome),
            Body::MailReceived(mail) => {
                let from = Speaker::Mail {
                    id: mail.message_id,
                    from: mail.from.clone(),
                    subject: mail.subject.clone(),
                };
                self.enqueue(event, &mail.content, from);
            }
            Body::UserInterrupt(_) => {
                self.interrupt = Some(id);
                self.unnamed.push(id);
                if self.at_rest() || self.compacting {
                    self.overtaken = self.queue.iter().map(|queued| queued.id).collect();
                }
            }
            Body::UserToolConfirmation(answer) => {
                self.unnamed.push(id);
                let confirmation = Confirmation {
                    verdict: answer.result,
                    message: answer.deny_message.clone(),
                };
                self.with_open_call(answer.tool_use_id, |call| {
                    call.confirmation.get_or_insert(confirmation);
                });
            }
            Body::UserCustomToolResult(result) => {
                self.answer(result.custom_tool_use_id, &result.content, result.is_error);
            }
            Body::UserToolResult(result) | Body::AgentToolResult(result) => {
                self.answer(result.tool_use_id, &result.content, result.is_error);
            }
            Body::AgentMcpToolResult(result) => self.answer(result.mcp_tool_use_id, &result.content, result.is_error),
            Body::AgentMessage(message) => {
                let _place = self.push_part(event.seq, StepPart::Text(message.content.clone()));
            }
            Body::AgentThinking(_) => {
                let _place = self.push_part(event.seq, StepPart::Thinking(private.native.clone()));
            }
            Body::AgentToolUse(tool) => {
                let lane = if private.self_hosted {
                    CallLane::SelfHosted
                } else {
                    CallLane::Builtin
                };
                self.push_call(event, &tool.name, &tool.input, lane, tool.evaluated_permission);
            }
            Body::AgentMcpToolUse(tool) => {
                let lane = CallLane::Mcp {
                    server: tool.mcp_server_name.clone(),
                    tool: tool.name.clone(),
                };
                let name = tool_name(&tool.mcp_server_name, &tool.name);
                self.push_call(event, &name, &tool.input, lane, tool.evaluated_permission);
            }
            Body::AgentCustomToolUse(tool) => {
                self.push_call(
                    event,
                    &tool.name,
                    &tool.input,
                    CallLane::Custom,
                    Some(Permission::Allow),
                );
            }
            Body::ToolDispatched(dispatch) => {
                let dispatch = dispatch.clone();
                self.with_open_call(dispatch.tool_use_id, |call| call.dispatched = Some(dispatch));
            }
            Body::SpanModelRequestStart(_) => {
                self.request = Some(id);
                self.compacting = private.compaction;
                if let Some(brain) = &private.brain {
                    self.brain = Some(brain.as_str().into());
                }
            }
            Body::SpanModelRequestEnd(end) => self.end_request(end, private),
            Body::InputProcessed(named) => {
                for id in &named.event_ids {
                    self.place_input(*id, event.seq);
                }
            }
            Body::SessionStatusRunning(_) => {
                self.set_status(Status::Running, None);
                self.running.get_or_insert(id);
            }
            Body::SessionStatusIdle(idle) => self.rest(&idle.stop_reason),
            Body::SessionStatusRescheduled(_) => self.set_status(Status::Rescheduling, None),
            Body::SessionStatusTerminated(_) | Body::SessionDeleted(_) => self.set_status(Status::Terminated, None),
            Body::ContextCompacted(compacted) => self.compact(compacted),
            Body::HarnessChanged(changed) => self.brain = Some(changed.to.as_str().into()),
            Body::SessionError(_)
            | Body::SessionUpdated(_)
            | Body::SessionForked(_)
            | Body::SessionImported(_)
            | Body::BudgetWarning(_)
            | Body::AgentThreadContextCompacted(_) => {}
            Body::Unknown(kind) => {
                self.unknown.get_or_insert(UnknownEvent {
                    seq: event.seq,
                    kind: kind.clone(),
                });
            }
        }
    }

    fn enqueue(&mut self, event: &Event, content: &Raw, from: Speaker) {
        self.queue.push_back(Queued {
            id: event.id,
            content: content.clone(),
            from,
            trace: event.private.trace,
        });
    }

    fn set_status(&mut self, status: Status, stop: Option<StopReason>) {
        self.status = status;
        self.stop = stop;
    }

    /// Resting for anything but an answer ends the turn: what was left unsaid is no longer owed, unless only a budget was in
    /// the way.
    fn rest(&mut self, stop: &StopReason) {
        if !matches!(stop, StopReason::RequiresAction { .. }) {
            self.owes_reply &= *stop == StopReason::BudgetReached;
            self.interrupt = None;
            self.trace = None;
        }
        self.running = None;
        self.compacting = false;
        self.set_status(Status::Idle, Some(stop.clone()));
    }

    /// An input enters the context where it is named, never at its own seq (DESIGN §5).
    fn place_input(&mut self, id: EventId, seq: u64) {
        self.unnamed.retain(|unnamed| *unnamed != id);
        self.overtaken.retain(|overtaken| *overtaken != id);
        if self.interrupt == Some(id) {
            self.interrupt = None;
        }
        let Some(at) = self.queue.iter().position(|queued| queued.id == id) else {
            return;
        };
        if let Some(queued) = self.queue.remove(at) {
            let Queued {
                content, from, trace, ..
            } = queued;
            self.trace = self.trace.or(trace);
            self.close_step();
            self.entries.push(Entry::Input { seq, content, from });
            self.owes_reply = true;
        }
    }

    fn end_request(&mut self, end: &ModelRequestEnd, private: &Private) {
        self.request = None;
        if !end.is_error {
            // A summary answers nobody.
            if !self.compacting {
                self.owes_reply = false;
                self.last_stop = private.stop.unwrap_or(StopKind::EndTurn);
                self.context_tokens = end.model_usage.context();
            }
            self.compacting = false;
        }
        self.close_step();
    }

    fn close_step(&mut self) {
        if let Some(Entry::Step(step)) = self.entries.last_mut() {
            step.closed = true;
        }
    }

    fn push_part(&mut self, seq: u64, part: StepPart) -> Place {
        self.compacting = false;
        if !matches!(self.entries.last(), Some(Entry::Step(step)) if !step.closed) {
            self.entries.push(Entry::Step(ModelTurn {
                seq,
                brain: self.brain.clone(),
                parts: Vec::new(),
                closed: false,
            }));
        }
        let entry = self.entries.len() - 1;
        let mut place = Place { entry, part: 0 };
        if let Some(Entry::Step(step)) = self.entries.last_mut() {
            place.part = step.parts.len();
            step.parts.push(part);
        }
        place
    }

    fn push_call(&mut self, event: &Event, name: &str, input: &Raw, lane: CallLane, permission: Option<Permission>) {
        let Private {
            native_id, note, hand, ..
        } = event.private.clone();
        let call = Call {
            id: event.id,
            native_id,
            name: name.to_owned(),
            input: input.clone(),
            lane,
            hand,
            permission: permission.unwrap_or(Permission::Allow),
            refusal: note,
            confirmation: None,
            dispatched: None,
            result: None,
        };
        let place = self.push_part(event.seq, StepPart::Call(Box::new(call)));
        self.open.insert(event.id, place);
    }

    fn with_open_call(&mut self, id: EventId, change: impl FnOnce(&mut Call)) {
        if let Some(place) = self.open.get(&id).copied()
            && let Some(call) = self.call_at_mut(place)
        {
            change(call);
        }
    }

    /// One terminal event per call: a result that comes later finds the call closed and is dropped.
    fn answer(&mut self, id: EventId, content: &Option<Raw>, is_error: Option<bool>) {
        let Some(place) = self.open.remove(&id) else { return };
        let content = content.clone().unwrap_or_else(|| Raw::of::<[(); 0]>(&[]));
        if let Some(call) = self.call_at_mut(place) {
            call.result = Some(CallResult {
                content,
                is_error: is_error.unwrap_or(false),
            });
        }
        if let Some(Entry::Step(step)) = self.entries.get_mut(place.entry) {
            step.closed = true;
        }
        self.owes_reply = true;
    }
}

/// An outcome as a model is told of it.
fn content_of(outcome: &DefineOutcome) -> Raw {
    #[derive(serde::Deserialize)]
    struct Rubric {
        content: String,
    }
    let mut blocks = vec![Block::text(outcome.description.as_str())];
    if let Ok(rubric) = outcome.rubric.parse::<Rubric>() {
        blocks.push(Block::text(format!("It will be judged by:\n{}", rubric.content)));
    }
    Raw::of(&blocks)
}
