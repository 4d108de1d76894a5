//! `decide`: a command of the lease holder becomes the events to append, or is refused. Commands of clients are admitted on
//! head-row columns instead ([`super::admit`]): a client never races the worker, it only gets a later seq.

use perennial_schema::content::text_content;
use perennial_schema::event::{
    Body, Draft, Empty, ErrorDetail, ErrorKind, Idle, InputProcessed, McpToolResult, McpToolUse, Message,
    ModelRequestEnd, Permission, Private, Raw, RetryStatus, SessionError, SessionForked, ToolDispatched, ToolResult,
    ToolUse,
};
use perennial_schema::model::{StopKind, Usage};
use perennial_schema::session::{Status, StopReason};
use perennial_schema::tool::{Effect, Outcome, args_hash};
use perennial_schema::{EventId, SessionId, Timestamp};

use super::next::{Close, CloseReason};
use super::state::{Call, CallLane, State};
use crate::ports::{Ids, Lane, ModelStep, Part, Placement, ToolSpec};

/// What the holder of a session wants to happen.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Begin a model request: queued inputs enter the context here.
    StartRequest,
    /// The model's step is complete.
    FinishRequest {
        /// What it said.
        step: &'a ModelStep,
        /// The tools it was offered.
        tools: &'a [ToolSpec],
        /// Where its calls go that may run at once: their intents travel in the same commit. None leaves them undispatched.
        placement: Option<Placement>,
    },
    /// The open request came to nothing (failed, superseded, interrupted): its previews are void.
    AbandonRequest {
        /// Tokens that were used nevertheless, as far as known.
        usage: Usage,
    },
    /// These calls are about to leave.
    Dispatch {
        /// Which, with the effect class of each one's tool.
        calls: &'a [(EventId, Effect)],
        /// Where to.
        placement: Placement,
    },
    /// These calls are over. When no other is open and nobody interrupted, the next model request begins in the same commit.
    Complete(&'a [(EventId, Outcome)]),
    /// These calls end without running.
    Close(&'a [Close]),
    /// Say what went wrong.
    Report(ErrorDetail),
    /// Rest, and say why; absent only names what was consumed.
    Rest(Option<StopReason>),
    /// This log is a copy of another up to here: end what belongs to the other one.
    Fork {
        /// The other one.
        from: SessionId,
        /// What became of the workspace folder: `copied` or `empty`.
        workspace: &'static str,
    },
}

/// A command that does not fit the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A model request needs all calls answered and no other request open.
    #[error("a model request cannot begin while calls or another request are open")]
    NotReadyToThink,
    /// There is no open request to end.
    #[error("no model request is open")]
    NoOpenRequest,
    /// The call is not open (any more).
    #[error("call {0} is not open")]
    NotOpen(EventId),
}

impl State {
    /// The events a command leads to. Ids and the time are arguments: nothing ambient.
    ///
    /// # Errors
    /// When the command does not fit the state.
    pub fn decide(&self, command: Command<'_>, at: Timestamp, ids: &dyn Ids) -> Result<Vec<Draft>, Rejection> {
        let author = Author { at, ids };
        match command {
            Command::StartRequest => self.start_request(&author),
            Command::FinishRequest { step, tools, placement } => self.finish_request(&author, step, tools, placement),
            Command::AbandonRequest { usage } => Ok(vec![self.end_request_draft(&author, usage, true)?]),
            Command::Dispatch { calls, placement } => self.dispatch(&author, calls, placement),
            Command::Complete(outcomes) => self.complete(&author, outcomes),
            Command::Close(closes) => closes.iter().map(|close| self.close(&author, close)).collect(),
            Command::Report(error) => Ok(vec![author.draft(Body::SessionError(SessionError { error }))]),
            Command::Rest(stop) => Ok(self.rest_drafts(&author, stop)),
            Command::Fork { from, workspace } => Ok(self.fork(&author, from, workspace)),
        }
    }

    fn start_request(&self, author: &Author<'_>) -> Result<Vec<Draft>, Rejection> {
        if self.request.is_some() || !self.open.is_empty() || self.interrupt.is_some() {
            return Err(Rejection::NotReadyToThink);
        }
        Ok(self.request_drafts(author))
    }

    fn request_drafts(&self, author: &Author<'_>) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = self.wake(author).into_iter().collect();
        drafts.push(author.draft(Body::SpanModelRequestStart(Empty {})));
        let named = self
            .unnamed
            .iter()
            .copied()
            .chain(self.queue.iter().map(|queued| queued.id))
            .collect();
        drafts.extend(author.processed(named));
        drafts
    }

    /// `session.status_running`, unless it is.
    fn wake(&self, author: &Author<'_>) -> Option<Draft> {
        (self.status != Status::Running).then(|| author.draft(Body::SessionStatusRunning(Empty {})))
    }

    fn finish_request(
        &self,
        author: &Author<'_>,
        step: &ModelStep,
        tools: &[ToolSpec],
        placement: Option<Placement>,
    ) -> Result<Vec<Draft>, Rejection> {
        let mut drafts: Vec<Draft> = step.parts.iter().map(|part| author.part(part, tools)).collect();
        let end = self.end_request_draft(author, step.usage, false)?;
        let stop = (step.stop != StopKind::EndTurn).then_some(step.stop);
        drafts.push(if stop.is_some() {
            end.with_private(&Private {
                stop,
                ..Private::default()
            })
        } else {
            end
        });
        if let Some(placement) = placement {
            for part in &step.parts {
                let Part::ToolUse { id, name, input, .. } = part else {
                    continue;
                };
                let tool = tools.iter().find(|tool| tool.name == *name && tool.runs_at_once());
                drafts.extend(tool.map(|tool| author.dispatched(*id, name, input, 1, tool.effect, placement)));
            }
        }
        Ok(drafts)
    }

    fn end_request_draft(&self, author: &Author<'_>, usage: Usage, is_error: bool) -> Result<Draft, Rejection> {
        let start = self.request.ok_or(Rejection::NoOpenRequest)?;
        let end = ModelRequestEnd {
            model_request_start_id: start,
            model_usage: usage,
            is_error,
        };
        Ok(author.draft(Body::SpanModelRequestEnd(end)))
    }

    fn dispatch(
        &self,
        author: &Author<'_>,
        calls: &[(EventId, Effect)],
        placement: Placement,
    ) -> Result<Vec<Draft>, Rejection> {
        let mut drafts: Vec<Draft> = self.wake(author).into_iter().collect();
        for (call_id, effect) in calls {
            let call = self.open_call(*call_id).ok_or(Rejection::NotOpen(*call_id))?;
            let attempt = call
                .dispatched
                .as_ref()
                .map_or(1, |earlier| earlier.attempt.saturating_add(1));
            drafts.push(author.dispatched(*call_id, &call.name, &call.input, attempt, *effect, placement));
        }
        Ok(drafts)
    }

    fn complete(&self, author: &Author<'_>, outcomes: &[(EventId, Outcome)]) -> Result<Vec<Draft>, Rejection> {
        let mut drafts = Vec::new();
        for (call_id, outcome) in outcomes {
            let call = self.open_call(*call_id).ok_or(Rejection::NotOpen(*call_id))?;
            drafts.push(author.result(call, Raw::of(&outcome.content), outcome.is_error));
        }
        if !drafts.is_empty() && drafts.len() == self.open.len() && self.interrupt.is_none() && self.request.is_none() {
            drafts.extend(self.request_drafts(author));
        }
        Ok(drafts)
    }

    fn close(&self, author: &Author<'_>, close: &Close) -> Result<Draft, Rejection> {
        let call = self.open_call(close.call_id).ok_or(Rejection::NotOpen(close.call_id))?;
        Ok(author.result(call, text_content(&close.reason.text(call)), true))
    }

    fn rest_drafts(&self, author: &Author<'_>, stop: Option<StopReason>) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = author.processed(self.unnamed.clone()).into_iter().collect();
        drafts.extend(stop.map(|stop_reason| author.draft(Body::SessionStatusIdle(Idle { stop_reason }))));
        drafts
    }

    /// Calls pending at the cut are closed, never settled: they belong to the other session (DESIGN §7).
    fn fork(&self, author: &Author<'_>, from: SessionId, workspace: &'static str) -> Vec<Draft> {
        let forked = SessionForked {
            from_session: from,
            at_seq: self.seq,
            workspace: workspace.to_owned(),
        };
        let mut drafts = vec![author.draft(Body::SessionForked(forked))];
        drafts.extend(self.end_request_draft(author, Usage::default(), true));
        for call in self.open_calls() {
            drafts.push(author.result(call, text_content(&CloseReason::Forked.text(call)), true));
        }
        drafts.extend(author.processed(self.unnamed.clone()));
        let resting = self.status == Status::Idle && !matches!(self.stop, Some(StopReason::RequiresAction { .. }));
        if !resting {
            drafts.push(author.draft(Body::SessionStatusIdle(Idle {
                stop_reason: StopReason::EndTurn,
            })));
        }
        drafts
    }
}

/// What sets a session aside: written by the claimer without folding the log (I15).
#[must_use]
pub fn quarantine(message: String, at: Timestamp, ids: &dyn Ids) -> Vec<Draft> {
    let author = Author { at, ids };
    let error = ErrorDetail {
        kind: ErrorKind::UnknownError,
        message,
        retry_status: RetryStatus::Terminal,
    };
    vec![
        author.draft(Body::SessionError(SessionError { error })),
        author.draft(Body::SessionStatusIdle(Idle {
            stop_reason: StopReason::RetriesExhausted,
        })),
    ]
}

impl CloseReason {
    fn text(&self, call: &Call) -> String {
        match (self, call.dispatched.is_some()) {
            (Self::Denied(message), _) => message.clone(),
            (Self::Interrupted, true) => {
                "Interrupted by the user while running; it was stopped and may have had partial effects.".into()
            }
            (Self::Interrupted, false) => "Interrupted by the user before it ran.".into(),
            (Self::Forked, true) => {
                "This session was forked while the call was running elsewhere; its outcome is not known here.".into()
            }
            (Self::Forked, false) => "This session was forked before the call ran; it did not run here.".into(),
        }
    }
}

/// Writes events at one time with one source of ids.
struct Author<'a> {
    at: Timestamp,
    ids: &'a dyn Ids,
}

impl Author<'_> {
    fn draft(&self, body: Body) -> Draft {
        Draft::new(self.ids.event(), body, self.at)
    }

    fn processed(&self, event_ids: Vec<EventId>) -> Option<Draft> {
        (!event_ids.is_empty()).then(|| self.draft(Body::InputProcessed(InputProcessed { event_ids })))
    }

    fn dispatched(
        &self,
        tool_use_id: EventId,
        name: &str,
        input: &Raw,
        attempt: u32,
        effect: Effect,
        placement: Placement,
    ) -> Draft {
        let Placement {
            executor_id,
            journal_id,
        } = placement;
        let args_hash = args_hash(name, input.text());
        let dispatch = ToolDispatched {
            tool_use_id,
            executor_id,
            journal_id,
            attempt,
            effect,
            args_hash,
        };
        self.draft(Body::ToolDispatched(dispatch))
    }

    fn result(&self, call: &Call, content: Raw, is_error: bool) -> Draft {
        let (content, is_error) = (Some(content), Some(is_error));
        self.draft(match call.lane {
            CallLane::Mcp => Body::AgentMcpToolResult(McpToolResult {
                mcp_tool_use_id: call.id,
                content,
                is_error,
            }),
            CallLane::Builtin | CallLane::SelfHosted | CallLane::Custom => Body::AgentToolResult(ToolResult {
                tool_use_id: call.id,
                content,
                is_error,
            }),
        })
    }

    fn part(&self, part: &Part, tools: &[ToolSpec]) -> Draft {
        match part {
            Part::Thinking { id, native } => {
                Draft::new(*id, Body::AgentThinking(Empty {}), self.at).with_private(&Private {
                    native: Some(native.clone()),
                    ..Private::default()
                })
            }
            Part::Text { id, text } => Draft::new(
                *id,
                Body::AgentMessage(Message {
                    content: text_content(text),
                }),
                self.at,
            ),
            Part::ToolUse {
                id,
                native_id,
                name,
                input,
            } => {
                let native_id = Some(native_id.clone());
                match tools.iter().find(|tool| tool.name == *name) {
                    Some(tool) => self.tool_use(*id, native_id, tool, input),
                    None => self.unknown_tool(*id, native_id, name, input, tools),
                }
            }
        }
    }

    fn tool_use(&self, id: EventId, native_id: Option<String>, tool: &ToolSpec, input: &Raw) -> Draft {
        let (name, input) = (tool.name.clone(), input.clone());
        let evaluated_permission = Some(tool.permission);
        let mut private = Private {
            native_id,
            ..Private::default()
        };
        let body = match &tool.lane {
            Lane::Client => Body::AgentCustomToolUse(ToolUse {
                name,
                input,
                evaluated_permission: None,
            }),
            Lane::Executor => Body::AgentToolUse(ToolUse {
                name,
                input,
                evaluated_permission,
            }),
            Lane::SelfHosted => {
                private.self_hosted = true;
                Body::AgentToolUse(ToolUse {
                    name,
                    input,
                    evaluated_permission,
                })
            }
            Lane::Mcp { server } => Body::AgentMcpToolUse(McpToolUse {
                mcp_server_name: server.clone(),
                name,
                input,
                evaluated_permission,
            }),
        };
        Draft::new(id, body, self.at).with_private(&private)
    }

    /// A tool that was not offered: the log keeps what the model said, policy refuses it, and the model is told.
    fn unknown_tool(
        &self,
        id: EventId,
        native_id: Option<String>,
        name: &str,
        input: &Raw,
        tools: &[ToolSpec],
    ) -> Draft {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let note = Some(format!(
            "There is no tool {name:?}. Tools on offer: {}.",
            names.join(", ")
        ));
        let evaluated_permission = Some(Permission::Deny);
        let body = Body::AgentToolUse(ToolUse {
            name: name.to_owned(),
            input: input.clone(),
            evaluated_permission,
        });
        Draft::new(id, body, self.at).with_private(&Private {
            native_id,
            note,
            ..Private::default()
        })
    }
}
