//! One claimed session, from replay to rest.
//!
//! The loop is `next → act → append → fold`. Everything that is true of the session is in the log; what is here (calls in
//! flight, a model request) is work that may be dropped at any time. After a crash the same loop runs again: calls that
//! were dispatched are settled, an open request is closed as an error, and the session goes on.

mod append;
pub(crate) mod beyond;
mod calls;
mod compact;
mod hold;
mod load;
mod mount;
mod output;
mod packages;
mod prepare;
mod rest;
mod think;
mod trace;

pub(crate) use think::Asked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use perennial_engine::kernel::{self, Brain, Command, State, Step, UnknownEvent};
use perennial_engine::ports::{
    AppendError, CallError, Notice, Placement, SessionKey, SessionRow, Subscription, ToolSpec,
};
use perennial_engine::retry;
use perennial_schema::event::{Body, Draft, Empty, ErrorDetail};
use perennial_schema::model::Usage;
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::harness::Harness;
use crate::lease::Watch;
use crate::ports::Ports;
use crate::yielded::Yielded;

/// How a drive ended.
pub(crate) struct Ended {
    pub(crate) key: SessionKey,
    pub(crate) epoch: u64,
    /// The folded state, when it is certain to be a prefix of the log.
    pub(crate) state: Option<State>,
}

/// Why a drive stops before the session rests.
#[derive(Debug)]
enum Stop {
    /// The lease is somebody else's: drop everything, append nothing (I3).
    Evicted,
    /// This process is going away.
    Draining,
    /// The log cannot be understood; the reason for people.
    Unreadable(String),
    /// A later version of this program wrote to the log.
    Beyond(UnknownEvent),
    /// The session row is gone.
    Gone,
}

/// A call that ended.
type CallEnd = (EventId, Result<Outcome, CallError>);

/// Whether the loop goes on.
enum Flow {
    Continue,
    Released,
}

/// A claimed session.
pub(crate) struct Session {
    ports: Ports,
    row: SessionRow,
    key: SessionKey,
    epoch: u64,
    state: State,
    tools: Vec<ToolSpec>,
    /// Whether those of MCP servers are among them.
    mounted: bool,
    /// What is missing among them, to be told with the first model request.
    troubles: Vec<ErrorDetail>,
    /// Opened by the first model request, thrown away whenever the session stops thinking.
    harness: Option<Box<dyn Harness>>,
    watch: Watch,
    notices: Box<dyn Subscription>,
    drain: CancellationToken,
    /// Calls in flight, by event id of the tool use.
    running: JoinSet<CallEnd>,
    in_flight: BTreeSet<EventId>,
    /// Calls whose intent was appended with their step and that have not left yet.
    fresh: BTreeSet<EventId>,
    /// The open model request that is ours; another one was left by a dead attempt.
    own_request: Option<EventId>,
    /// Where calls go, chosen once per drive: for each attached executor, and where the environment says.
    placements: BTreeMap<Option<ExecutorId>, Placement>,
    /// Why the folder is not ready. It is tried again by the next drive.
    unprepared: Option<String>,
    requests: u32,
    /// Who is asked: `harness/provider`, and the provider alone.
    brain: (String, String),
    /// Tokens beyond which the context is compacted. Beyond reach once that has failed.
    compact_at: u64,
    tracing: trace::Tracing,
    /// What newer versions are to drive.
    yielded: Arc<Yielded>,
}

impl Session {
    pub(crate) fn new(
        ports: Ports,
        row: SessionRow,
        watch: Watch,
        drain: CancellationToken,
        warm: Option<State>,
        yielded: Arc<Yielded>,
    ) -> Self {
        let key = row.key;
        // Subscribe before the tail is read: what is appended later is heard.
        let notices = ports.bus.subscribe(key);
        let provider = ports.harnesses.provider(&row.agent);
        Self {
            brain: (format!("{}/{provider}", row.agent.harness), provider),
            compact_at: ports.harnesses.compact_at(&row.agent),
            key,
            epoch: row.epoch,
            state: warm.unwrap_or_default(),
            tools: Vec::new(),
            mounted: false,
            troubles: Vec::new(),
            harness: None,
            watch,
            notices,
            drain,
            running: JoinSet::new(),
            in_flight: BTreeSet::new(),
            fresh: BTreeSet::new(),
            own_request: None,
            placements: BTreeMap::new(),
            unprepared: None,
            requests: 0,
            tracing: trace::Tracing::default(),
            yielded,
            ports,
            row,
        }
    }

    /// Drives the session until it rests or the lease ends. Never panics outward: a panic of ours sets the session aside.
    pub(crate) async fn run(mut self) -> Ended {
        debug!("claimed a session");
        let drive = std::panic::AssertUnwindSafe(self.drive()).catch_unwind().await;
        let outcome = match drive {
            Ok(outcome) => outcome,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or(panic.downcast_ref::<&str>().copied());
                error!(panic = text.unwrap_or("?"), "driving a session panicked");
                Err(Stop::Unreadable(
                    "an internal error of the server (a panic) while driving this session".into(),
                ))
            }
        };
        self.running.abort_all();
        match &outcome {
            Ok(()) => self.rest_harness().await,
            Err(_) => self.close_harness().await,
        }
        let state = match outcome {
            Ok(()) => Some(self.state),
            Err(Stop::Beyond(event)) => {
                self.stand_aside(event).await;
                None
            }
            Err(Stop::Draining) => {
                self.give_back().await;
                None
            }
            Err(Stop::Unreadable(reason)) => {
                self.set_aside(reason).await;
                None
            }
            Err(Stop::Evicted | Stop::Gone) => {
                debug!("let go of a session that is no longer ours");
                None
            }
        };
        Ended {
            key: self.key,
            epoch: self.epoch,
            state,
        }
    }

    async fn drive(&mut self) -> Result<(), Stop> {
        if self.row.attempts >= retry::QUARANTINE_AFTER {
            let reason = format!("{} attempts in a row ended in process death", self.row.attempts);
            return Err(Stop::Unreadable(reason));
        }
        if self.row.attempts >= retry::ALONE_AFTER {
            let notice = Draft::new(
                self.ports.ids.event(),
                Body::SessionStatusRescheduled(Empty {}),
                self.ports.clock.now(),
            );
            self.announce(vec![notice]).await?;
        }
        // Neither needs what the other finds.
        let (router, key) = (self.ports.router.clone(), self.key);
        let (agent, environment) = (self.row.agent.clone(), self.row.environment.clone());
        let (tools, replayed) = tokio::join!(router.catalogue(key, &agent, &environment), self.replay());
        replayed?;
        self.tools = tools;
        loop {
            if self.watch.lost.is_cancelled() {
                return Err(Stop::Evicted);
            }
            if self.drain.is_cancelled() {
                return Err(Stop::Draining);
            }
            self.find_place();
            match self.step().await? {
                Flow::Continue => {}
                Flow::Released => return Ok(()),
            }
        }
    }

    async fn step(&mut self) -> Result<Flow, Stop> {
        let next = self.state.next_within(self.compact_at);
        let asks_servers = match &next {
            Step::Think | Step::Compact { .. } => true,
            Step::Call(calls) => calls.iter().any(|call| mount::is_mounted(&call.lane)),
            _ => false,
        };
        if asks_servers && !self.mount().await? {
            // The interrupt says what comes next.
            return Ok(Flow::Continue);
        }
        match next {
            Step::CloseRequest(start) if self.own_request == Some(start) => self.think().await,
            Step::CloseRequest(_) => {
                let drafts = self.decide(Command::AbandonRequest {
                    usage: Usage::default(),
                })?;
                self.append(drafts).await?;
                Ok(Flow::Continue)
            }
            Step::Close(closes) => self.close(&closes).await,
            Step::Call(calls) => self.call(calls).await,
            Step::Think => self.begin_request().await,
            Step::Compact { up_to } => self.compact(up_to).await,
            Step::Await { event_ids, announce } => self.park(event_ids, announce).await,
            Step::Rest(stop) => self.rest(stop).await,
            Step::Quarantined => match self.state.unknown.clone() {
                Some(event) => Err(Stop::Beyond(event)),
                None => Err(Stop::Unreadable("the log cannot be understood".into())),
            },
        }
    }

    /// The kernel's events for a command. A rejection means this driver and the kernel disagree: the state is rebuilt from
    /// the log by the next claim.
    fn decide(&self, command: Command<'_>) -> Result<Vec<Draft>, Stop> {
        let decided = self
            .state
            .decide(command, self.ports.clock.now(), self.ports.ids.as_ref());
        decided
            .map_err(|rejection| Stop::Unreadable(format!("the turn loop asked for what the log forbids: {rejection}")))
    }

    /// Who is asked, for commands that begin a request.
    fn brain(&self) -> Option<Brain<'_>> {
        let (name, provider) = &self.brain;
        Some(Brain { name, provider })
    }

    async fn rest_harness(&mut self) {
        if let Some(mut harness) = self.harness.take() {
            harness.rest().await;
        }
    }

    async fn close_harness(&mut self) {
        if let Some(mut harness) = self.harness.take() {
            harness.close().await;
        }
    }

    /// Waits until something happens that may change what is next; the tail is folded by then.
    async fn wait(&mut self) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = self.watch.lost.cancelled() => return Err(Stop::Evicted),
            () = self.drain.cancelled() => return Err(Stop::Draining),
            seq = newer(&mut self.notices, &mut self.watch.head, self.state.seq) => debug!(seq, "the log moved"),
        }
        self.catch_up().await
    }

    /// Sets the session aside, without folding its log (I15).
    async fn set_aside(&mut self, reason: String) {
        info!(session.id = %self.key.session, %reason, "quarantining a session");
        let message = format!(
            "{reason}. The session is set aside; retry it with POST /v1/sessions/{}/retry",
            self.key.session
        );
        let drafts = kernel::quarantine(message, self.ports.clock.now(), self.ports.ids.as_ref());
        if let Err(error) = self.append_quarantine(drafts).await {
            error!(session.id = %self.key.session, %error, "could not set a session aside");
        }
    }
}

/// Waits for a hint or a renewal that shows a head beyond `seq`.
async fn newer(notices: &mut Box<dyn Subscription>, head: &mut tokio::sync::watch::Receiver<u64>, seq: u64) -> u64 {
    loop {
        tokio::select! {
            biased;
            changed = head.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
                let seen = *head.borrow();
                if seen > seq {
                    return seen;
                }
            }
            notice = notices.next() => match notice {
                Some(Notice::Hint { seq: hinted }) if hinted > seq => return hinted,
                Some(Notice::Hint { .. } | Notice::Delta(_)) => {}
                Some(Notice::Lagged) => return seq,
                // The bus is gone: renewals still show the head.
                None => std::future::pending().await,
            },
        }
    }
}

/// An append error that ends the drive.
fn fatal(error: AppendError) -> Stop {
    match error {
        AppendError::NotFound => Stop::Gone,
        AppendError::Fenced { .. } => Stop::Evicted,
        error => Stop::Unreadable(error.to_string()),
    }
}
