//! Asking the model: begin the request in the log, ask, append the finished step. What arrives meanwhile is folded; an
//! interrupt drops the request.

use perennial_engine::kernel::{Command, Message};
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, Ready, ToolSpec};
use perennial_engine::retry;
use perennial_schema::event::{Draft, ErrorDetail, ErrorKind, RetryStatus};
use perennial_schema::model::{StopKind, Usage};
use perennial_schema::session::StopReason;
use tracing::info;

use super::append::Terms;
use super::{Flow, Session, Stop, newer};
use crate::harness::Think;
use crate::sink::BusSink;
use crate::{limits, metrics};

/// How waiting for the model ended.
pub(crate) enum Asked {
    Answered(Result<ModelStep, ModelError>),
    Interrupted,
}

impl Session {
    /// Appends the start of a model request; the queued inputs enter the context here. Conditional on the head: a request must
    /// name every input there is, and none may begin behind an interrupt that is not folded yet.
    pub(super) async fn begin_request(&mut self) -> Result<Flow, Stop> {
        let drafts = self.decide(Command::StartRequest { brain: self.brain() })?;
        let terms = Terms {
            only_at_head: true,
            ..Terms::default()
        };
        if self.append_on(drafts, terms).await? {
            self.own_request = self.state.request;
        } else {
            self.catch_up().await?;
        }
        Ok(Flow::Continue)
    }

    /// Asks for one step, with retries, and appends what came of it.
    pub(super) async fn think(&mut self) -> Result<Flow, Stop> {
        self.requests += 1;
        if self.requests > limits::REQUESTS_PER_TURN {
            return self
                .give_up(
                    ErrorKind::ToolUseLimitReachedError,
                    "this turn made too many model requests".into(),
                    Usage::default(),
                )
                .await;
        }
        for attempt in 1.. {
            while self.own_request.is_none() && self.state.interrupt.is_none() {
                self.begin_request().await?;
            }
            // A request may begin with the results of calls that an earlier attempt made.
            if self.mount().await? {
                self.mount_again().await?;
            }
            // Folded before anybody waited for it: no notice will come.
            if self.state.interrupt.is_some() {
                return if self.own_request.is_some() {
                    self.abandon(Usage::default(), None).await
                } else {
                    Ok(Flow::Continue)
                };
            }
            for trouble in std::mem::take(&mut self.troubles) {
                let drafts = self.decide(Command::Report(trouble))?;
                self.append(drafts).await?;
            }
            fail::fail_point!("worker.model.before");
            let mut sink = BusSink::new(self.ports.bus.clone(), self.ports.ids.clone(), self.key);
            let asked = self.ask(self.state.render(), &self.tools.clone(), &mut sink).await?;
            fail::fail_point!("worker.model.after");
            let error = match asked {
                Asked::Interrupted => return self.abandon(sink.usage(), None).await,
                Asked::Answered(Ok(step)) => return self.finish(step).await,
                Asked::Answered(Err(error)) => error,
            };
            if let Some(refusal) = error.budget {
                return self.hold(refusal, &error, sink.usage()).await;
            }
            self.close_harness().await;
            if error.kind == ErrorKind::CompactionLimitReachedError
                && let Some(up_to) = self.state.cut().filter(|_| self.compact_at < u64::MAX)
            {
                info!(error = %error, "the context is too long for the model");
                self.abandon(sink.usage(), Some(told(&error, RetryStatus::Retrying)))
                    .await?;
                return self.compact(up_to).await;
            }
            if !error.retryable || attempt >= retry::MODEL_ATTEMPTS {
                return self.give_up_on(error, attempt, sink.usage()).await;
            }
            if !self.retry_later(&error, attempt, sink.usage()).await? {
                return Ok(Flow::Continue);
            }
        }
        Ok(Flow::Continue)
    }

    /// One request, while the log is watched for an interrupt.
    pub(super) async fn ask(
        &mut self,
        messages: Vec<Message>,
        tools: &[ToolSpec],
        sink: &mut dyn DeltaSink,
    ) -> Result<Asked, Stop> {
        let ask = Think {
            key: self.key,
            agent: &self.row.agent.clone(),
            tools,
            messages,
        };
        // The harness is borrowed by the request for as long as it lasts; the rest of the session is not.
        let mut harness = match self.harness.take() {
            Some(harness) => harness,
            None => match self.ports.harnesses.open(&self.row.agent.harness) {
                Ok(harness) => harness,
                Err(error) => return Ok(Asked::Answered(Err(error))),
            },
        };
        let place = self.enter_step();
        let outcome = {
            let mut thinking = harness.think(ask, sink);
            loop {
                tokio::select! {
                    biased;
                    () = self.watch.lost.cancelled() => break Err(Stop::Evicted),
                    () = self.drain.cancelled() => break Err(Stop::Draining),
                    answer = &mut thinking => break Ok(Asked::Answered(answer)),
                    _ = newer(&mut self.notices, &mut self.watch.head, self.state.seq) => {
                        if let Err(stop) = self.catch_up().await {
                            break Err(stop);
                        }
                        if self.state.interrupt.is_some() {
                            break Ok(Asked::Interrupted);
                        }
                    }
                }
            }
        };
        drop(place);
        metrics::count_model_request(outcome.as_ref().ok());
        self.harness = Some(harness);
        outcome
    }

    /// Appends a finished step: message, tool uses and the dispatch intents of calls that may run at once, in one commit. A
    /// step without calls ends the turn, in the same commit if nothing has arrived.
    async fn finish(&mut self, step: ModelStep) -> Result<Flow, Stop> {
        let calls = step.parts.iter().any(|part| matches!(part, Part::ToolUse { .. }));
        let placements = self.places_at_once(&step).await;
        let mut finished = self.decide(Command::FinishRequest {
            step: &step,
            tools: &self.tools,
            placements: &placements,
        })?;
        if step.stop == StopKind::MaxTokens && !calls {
            finished.extend(self.decide(Command::Report(cut_short(step.usage)))?);
        }
        self.own_request = None;
        if !calls && !self.state.has_queued_input() && self.state.interrupt.is_none() {
            let stop = if step.stop == StopKind::Refusal {
                StopReason::Refusal
            } else {
                StopReason::EndTurn
            };
            let mut drafts = finished.clone();
            drafts.extend(self.decide(Command::Rest(Some(stop)))?);
            fail::fail_point!("worker.rest.before");
            let terms = Terms {
                only_at_head: true,
                release: true,
                ready: None,
                hold: None,
            };
            if self.append_on(drafts, terms).await? {
                fail::fail_point!("worker.rest.after");
                return Ok(Flow::Released);
            }
            self.catch_up().await?;
        }
        fail::fail_point!("worker.dispatch.before");
        self.append(finished).await?;
        fail::fail_point!("worker.dispatch.after");
        // No call was open before this step, so every dispatched one is ours and has not left yet.
        self.fresh = self
            .state
            .open_calls()
            .filter(|call| call.dispatched.is_some())
            .map(|call| call.id)
            .collect();
        Ok(Flow::Continue)
    }

    /// Closes the request as an error, with what is to be said about it. The previews of this attempt are void; what it has
    /// used is counted.
    pub(super) async fn abandon(&mut self, usage: Usage, error: Option<ErrorDetail>) -> Result<Flow, Stop> {
        self.own_request = None;
        self.close_harness().await;
        let drafts = self.abandoned(usage, error)?;
        self.append(drafts).await?;
        Ok(Flow::Continue)
    }

    pub(super) fn abandoned(&self, usage: Usage, error: Option<ErrorDetail>) -> Result<Vec<Draft>, Stop> {
        let mut drafts = self.decide(Command::AbandonRequest { usage })?;
        if let Some(error) = error {
            drafts.extend(self.decide(Command::Report(error))?);
        }
        Ok(drafts)
    }

    /// Says that another attempt follows, and waits for its time. False when something arrived that changes what is next.
    pub(super) async fn retry_later(&mut self, error: &ModelError, attempt: u32, usage: Usage) -> Result<bool, Stop> {
        let retry_after = error
            .retry_after
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let delay = retry::model_delay_millis(attempt, retry_after, self.jitter());
        info!(attempt, delay_ms = delay, error = %error, "a model request failed; trying again");
        self.abandon(usage, Some(told(error, RetryStatus::Retrying))).await?;
        let wake = tokio::time::sleep(std::time::Duration::from_millis(delay));
        tokio::pin!(wake);
        loop {
            tokio::select! {
                biased;
                () = &mut wake => return Ok(self.state.interrupt.is_none()),
                waited = self.wait() => waited?,
            }
            if self.state.interrupt.is_some() {
                return Ok(false);
            }
        }
    }

    /// 0 to 1000, from where the ids come from: a simulator gives both.
    fn jitter(&self) -> u64 {
        u64::try_from(self.ports.ids.uuid().as_u128() % 1001).unwrap_or(0)
    }

    async fn give_up_on(&mut self, error: ModelError, attempts: u32, usage: Usage) -> Result<Flow, Stop> {
        let message = if error.kind == ErrorKind::CompactionLimitReachedError {
            format!(
                "{}; give the agent a model that takes a longer conversation, or begin a new session",
                error.message
            )
        } else if attempts > 1 {
            format!("{} (tried {attempts} times)", error.message)
        } else {
            error.message
        };
        self.give_up(error.kind, message, usage).await
    }

    /// Ends the turn with an error: span, error and idle in one commit. New input starts again.
    async fn give_up(&mut self, kind: ErrorKind, message: String, usage: Usage) -> Result<Flow, Stop> {
        let detail = ErrorDetail {
            kind,
            message,
            retry_status: RetryStatus::Exhausted,
            mcp_server_name: None,
        };
        self.own_request = None;
        let mut drafts = self.abandoned(usage, Some(detail))?;
        drafts.extend(self.decide(Command::Rest(Some(StopReason::RetriesExhausted)))?);
        // What is queued was never answered with this error: it goes on.
        let more = self.state.has_queued_input();
        let terms = Terms {
            only_at_head: true,
            release: !more,
            ready: more.then_some(Ready::Keep),
            hold: None,
        };
        while !self.append_on(drafts.clone(), terms).await? {
            self.catch_up().await?;
            if self.state.has_queued_input() || self.state.interrupt.is_some() {
                self.append_on(
                    drafts,
                    Terms {
                        ready: Some(Ready::Keep),
                        ..Terms::default()
                    },
                )
                .await?;
                return Ok(Flow::Continue);
            }
        }
        Ok(if more { Flow::Continue } else { Flow::Released })
    }
}

/// What is said of a failed request.
pub(super) fn told(error: &ModelError, retry_status: RetryStatus) -> ErrorDetail {
    ErrorDetail {
        kind: error.kind,
        message: error.message.clone(),
        retry_status,
        mcp_server_name: None,
    }
}

/// The answer is there, but not all of it: a turn that ends so must not look as if it were done.
fn cut_short(usage: Usage) -> ErrorDetail {
    ErrorDetail {
        kind: ErrorKind::ModelRequestFailedError,
        message: format!(
            "the model's answer was cut off at its limit of output tokens ({} written); ask it to go on",
            usage.output_tokens
        ),
        retry_status: RetryStatus::Exhausted,
        mcp_server_name: None,
    }
}
