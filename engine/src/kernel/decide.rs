//! `decide`: a command of the lease holder becomes the events to append, or is refused. Commands of clients are admitted on
//! head-row columns instead ([`super::admit`]): a client never races the worker, it only gets a later seq.

use perennial_schema::content::text_content;
use perennial_schema::event::{
    Body, Draft, Empty, ErrorDetail, Idle, ModelRequestEnd, Private, Raw, SessionError, SessionForked, SessionImported,
};
use perennial_schema::model::{StopKind, Usage};
use perennial_schema::session::{Status, StopReason};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, SessionId, Timestamp};

use super::author::Author;
use super::brain::Brain;
use super::next::{Close, CloseReason};
use super::state::State;
use crate::ports::{Ids, ModelStep, Part, Placement, ToolSpec};

/// What the holder of a session wants to happen.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Begin a model request: queued inputs enter the context here.
    StartRequest {
        /// Who is asked.
        brain: Option<Brain<'a>>,
    },
    /// Begin a model request for a summary: queued inputs stay queued.
    StartCompaction {
        /// Who is asked.
        brain: Option<Brain<'a>>,
    },
    /// The summary is there: it takes the place of what it covers.
    FinishCompaction {
        /// What the model sees instead.
        summary: &'a str,
        /// As [`Step::Compact`](super::Step::Compact) said.
        up_to: u64,
        /// Tokens.
        usage: Usage,
    },
    /// The model's step is complete.
    FinishRequest {
        /// What it said.
        step: &'a ModelStep,
        /// The tools it was offered.
        tools: &'a [ToolSpec],
        /// Where those of its calls go that may run at once: their intents travel in the same commit. Others stay undispatched.
        placements: &'a [(EventId, Placement)],
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
    /// These calls are over. When no other is open, nobody interrupted and the context has room, the next model request
    /// begins in the same commit.
    Complete {
        /// Which, and what came of each.
        outcomes: &'a [(EventId, Outcome)],
        /// Who is asked then.
        brain: Option<Brain<'a>>,
        /// Beyond so many tokens the context is compacted first.
        compact_at: u64,
    },
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
    /// This log began elsewhere and goes on here: end what belongs to the other place.
    Import(SessionImported),
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
            Command::StartRequest { brain } => self.start_request(&author, brain),
            Command::StartCompaction { brain } => self.start_compaction(&author, brain),
            Command::FinishCompaction { summary, up_to, usage } => {
                self.finish_compaction(&author, summary, up_to, usage)
            }
            Command::FinishRequest {
                step,
                tools,
                placements,
            } => self.finish_request(&author, step, tools, placements),
            Command::AbandonRequest { usage } => Ok(vec![self.end_request_draft(&author, usage, true)?]),
            Command::Dispatch { calls, placement } => self.dispatch(&author, calls, placement),
            Command::Complete {
                outcomes,
                brain,
                compact_at,
            } => {
                let mut drafts = self.complete(&author, outcomes)?;
                let all = !drafts.is_empty() && drafts.len() == self.open.len();
                if all && self.interrupt.is_none() && self.request.is_none() && self.context_tokens <= compact_at {
                    drafts.extend(self.request_drafts(&author, brain));
                }
                Ok(drafts)
            }
            Command::Close(closes) => closes.iter().map(|close| self.close(&author, close)).collect(),
            Command::Report(error) => Ok(vec![author.draft(Body::SessionError(SessionError { error }))]),
            Command::Rest(stop) => Ok(self.rest_drafts(&author, stop)),
            Command::Fork { from, workspace } => {
                let forked = SessionForked {
                    from_session: from,
                    at_seq: self.seq,
                    workspace: workspace.to_owned(),
                };
                Ok(self.begin_anew(&author, Body::SessionForked(forked), &CloseReason::Forked))
            }
            Command::Import(imported) => {
                Ok(self.begin_anew(&author, Body::SessionImported(imported), &CloseReason::Imported))
            }
        }
    }

    fn start_request(&self, author: &Author<'_>, brain: Option<Brain<'_>>) -> Result<Vec<Draft>, Rejection> {
        self.may_begin()?;
        Ok(self.request_drafts(author, brain))
    }

    pub(super) fn may_begin(&self) -> Result<(), Rejection> {
        if self.request.is_some() || !self.open.is_empty() || self.interrupt.is_some() {
            return Err(Rejection::NotReadyToThink);
        }
        Ok(())
    }

    fn request_drafts(&self, author: &Author<'_>, brain: Option<Brain<'_>>) -> Vec<Draft> {
        let mut drafts = self.span_drafts(author, brain, false);
        let named = self
            .unnamed
            .iter()
            .copied()
            .chain(self.queue.iter().map(|queued| queued.id))
            .collect();
        drafts.extend(author.processed(named));
        drafts
    }

    /// A request begins; when another brain is asked than before, the log says so first.
    pub(super) fn span_drafts(&self, author: &Author<'_>, brain: Option<Brain<'_>>, compaction: bool) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = self.wake(author).into_iter().collect();
        drafts.extend(brain.and_then(|brain| self.harness_changed(author, brain)));
        let private = Private {
            brain: brain
                .filter(|brain| self.brain() != Some(brain.name))
                .map(|brain| brain.name.to_owned()),
            compaction,
            ..Private::default()
        };
        let start = author.draft(Body::SpanModelRequestStart(Empty {}));
        drafts.push(if private == Private::default() {
            start
        } else {
            start.with_private(&private)
        });
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
        placements: &[(EventId, Placement)],
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
        for part in &step.parts {
            let Part::ToolUse { id, name, input, .. } = part else {
                continue;
            };
            let tool = tools.iter().find(|tool| tool.name == *name && tool.runs_at_once(input));
            let placement = placements.iter().find(|(call, _)| call == id);
            if let (Some(tool), Some((_, placement))) = (tool, placement) {
                drafts.push(author.dispatched(*id, name, input, 1, tool.effect, *placement));
            }
        }
        Ok(drafts)
    }

    pub(super) fn end_request_draft(
        &self,
        author: &Author<'_>,
        usage: Usage,
        is_error: bool,
    ) -> Result<Draft, Rejection> {
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
        Ok(drafts)
    }

    fn close(&self, author: &Author<'_>, close: &Close) -> Result<Draft, Rejection> {
        let call = self.open_call(close.call_id).ok_or(Rejection::NotOpen(close.call_id))?;
        Ok(author.result(call, text_content(&close.reason.text(call)), true))
    }

    fn rest_drafts(&self, author: &Author<'_>, stop: Option<StopReason>) -> Vec<Draft> {
        let named = self.overtaken.iter().chain(&self.unnamed).copied().collect();
        let mut drafts: Vec<Draft> = author.processed(named).into_iter().collect();
        drafts.extend(stop.map(|stop_reason| author.draft(Body::SessionStatusIdle(Idle { stop_reason }))));
        drafts
    }

    /// Calls pending at the cut are closed, never settled: they belong to the other session (DESIGN §7).
    fn begin_anew(&self, author: &Author<'_>, why: Body, reason: &CloseReason) -> Vec<Draft> {
        let mut drafts = vec![author.draft(why)];
        drafts.extend(self.end_request_draft(author, Usage::default(), true));
        for call in self.open_calls() {
            drafts.push(author.result(call, text_content(&reason.text(call)), true));
        }
        drafts.extend(author.processed(self.unnamed.clone()));
        // A cut may fall inside a commit, behind an input that nobody will answer here.
        if !self.at_rest() || self.owes_reply {
            drafts.push(author.draft(Body::SessionStatusIdle(Idle {
                stop_reason: StopReason::EndTurn,
            })));
        }
        drafts
    }
}
