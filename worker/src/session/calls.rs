//! Tool calls: place, record the intent, send; settle what an earlier attempt sent; append results as they come.

use std::sync::{Mutex, PoisonError};

use perennial_engine::kernel::{Call, CallLane, Close, Command};
use perennial_engine::ports::{
    CallError, HOUSE, McpTool, ModelStep, Order, Part, Placement, Ready, Router, Settled, environment_of,
};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::ToolDispatched;
use perennial_schema::mcp::{McpPlace, McpServer};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{Attachment, EventId, ExecutorId};
use tracing::{debug, info, warn};

use super::append::Terms;
use super::output::kept;
use super::prepare::{self, Unready};
use super::{Flow, Session, Stop, newer};
use crate::metrics;

impl Session {
    /// Starts the calls that are not under way, then waits for one to end or for the log to move.
    pub(super) async fn call(&mut self, calls: Vec<Call>) -> Result<Flow, Stop> {
        let (dispatched, fresh): (Vec<Call>, Vec<Call>) = calls
            .into_iter()
            .filter(|call| !self.in_flight.contains(&call.id))
            .partition(|call| call.dispatched.is_some());
        for call in dispatched {
            self.resume(&call);
        }
        if !fresh.is_empty() {
            return self.dispatch(fresh).await;
        }
        self.await_result().await
    }

    /// Intent before effect: the dispatch is in the log before the first byte leaves (I5).
    /// Calls for one executor at a time: another one may have to be made first.
    async fn dispatch(&mut self, mut calls: Vec<Call>) -> Result<Flow, Stop> {
        let hand = calls.first().and_then(|call| call.hand.clone());
        calls.retain(|call| call.hand == hand);
        let placement = match self.placed(hand.as_ref()).await? {
            Some(Ok(placement)) => placement,
            None => return Ok(Flow::Continue),
            Some(Err(unready)) => {
                if let Unready::Unprepared(reason) = &unready
                    && self.unprepared.is_none()
                {
                    let drafts = self.decide(Command::Report(prepare::told(reason)))?;
                    self.append(drafts).await?;
                    self.unprepared = Some(reason.clone());
                }
                let reason = unready.reason();
                let outcome = Outcome::text(format!("The tool could not be started: {reason}"), true);
                return self
                    .append_results(calls.iter().map(|call| (call.id, outcome.clone())).collect())
                    .await;
            }
        };
        let leaving: Vec<(EventId, Effect)> = calls.iter().map(|call| (call.id, self.effect(call))).collect();
        let drafts = self.decide(Command::Dispatch {
            calls: &leaving,
            placement,
        })?;
        fail::fail_point!("worker.dispatch.before");
        self.append(drafts).await?;
        fail::fail_point!("worker.dispatch.after");
        // An interrupt that was folded with this append closes the calls; they have not left and must not (I5).
        if self.state.interrupt.is_none() {
            for call in calls {
                self.send(call.id);
            }
        }
        Ok(Flow::Continue)
    }

    /// Sends the calls of a step whose intents were appended with it.
    fn send(&mut self, call_id: EventId) {
        let Some(order) = self.order(call_id) else { return };
        let ports = self.ports.clone();
        let hearer = crate::sink::aloud(ports.bus.clone(), ports.ids.event(), self.key, call_id);
        let leg = self.leg(&order, true);
        self.in_flight.insert(call_id);
        self.running.spawn(async move {
            let ended = match ports.router.call_aloud(order.clone(), hearer).await {
                // The line was lost, which is no outcome: the call may go on, and its executor knows.
                Err(CallError::Unknown(_)) => settle(ports.router.as_ref(), order.clone()).await,
                ended => ended,
            };
            leg.over(ports.clock.now(), &ended);
            (call_id, kept(&ports, &order, ended).await)
        });
    }

    /// A dispatched call without a result: ours, just appended with its step, or an earlier attempt's. Both are asked for by
    /// id; only what was never started is sent.
    fn resume(&mut self, call: &Call) {
        if call
            .dispatched
            .as_ref()
            .is_some_and(|sent| self.fresh.remove(&sent.tool_use_id))
        {
            return self.send(call.id);
        }
        let Some(order) = self.order(call.id) else { return };
        let ports = self.ports.clone();
        let leg = self.leg(&order, false);
        self.in_flight.insert(call.id);
        self.running.spawn(async move {
            let ended = settle(ports.router.as_ref(), order.clone()).await;
            leg.over(ports.clock.now(), &ended);
            (order.call_id, kept(&ports, &order, ended).await)
        });
    }

    async fn await_result(&mut self) -> Result<Flow, Stop> {
        tokio::select! {
            biased;
            () = self.watch.lost.cancelled() => return Err(Stop::Evicted),
            () = self.drain.cancelled() => return Err(Stop::Draining),
            Some(joined) = self.running.join_next() => {
                let mut ended = vec![joined];
                while let Some(joined) = self.running.try_join_next() {
                    ended.push(joined);
                }
                return self.ended(ended).await;
            }
            _ = newer(&mut self.notices, &mut self.watch.head, self.state.seq) => {}
        }
        self.catch_up().await?;
        Ok(Flow::Continue)
    }

    async fn ended(&mut self, ended: Vec<Result<super::CallEnd, tokio::task::JoinError>>) -> Result<Flow, Stop> {
        let mut results = Vec::new();
        for joined in ended {
            let Ok((call_id, result)) = joined else { continue };
            metrics::count_call(&result);
            self.in_flight.remove(&call_id);
            match result {
                Ok(outcome) => results.push((call_id, outcome)),
                Err(CallError::Fenced) => {
                    info!(call.id = %call_id, "a stale call was refused by the executor");
                    return Err(Stop::Evicted);
                }
                Err(CallError::NotStarted(reason)) => {
                    results.push((
                        call_id,
                        Outcome::text(format!("The tool was not started: {reason}"), true),
                    ));
                }
                Err(CallError::NotSent(reason)) => {
                    info!(call.id = %call_id, reason, "a call was not sent");
                    if !self.send_again(call_id).await? {
                        let told = format!("The tool was not started: {reason}");
                        results.push((call_id, Outcome::text(told, true)));
                    }
                }
                Err(CallError::Unknown(reason)) => {
                    results.extend(self.in_doubt(call_id, &reason).await?.map(|outcome| (call_id, outcome)));
                }
            }
        }
        self.append_results(results).await
    }

    /// The outcome is unknown. What may run twice is sent again; the rest is told to the model as it is (I5).
    async fn in_doubt(&mut self, call_id: EventId, reason: &str) -> Result<Option<Outcome>, Stop> {
        let Some(call) = self.state.open_call(call_id).cloned() else {
            return Ok(None);
        };
        warn!(call.id = %call_id, reason, "the outcome of a call is unknown");
        if self.send_again(call_id).await? {
            return Ok(None);
        }
        // Its executor may have been rebuilt under another journal: whatever is sent from here on is placed anew.
        self.placements.remove(&at(call.hand.as_ref()));
        Ok(Some(Outcome::text(
            format!(
                "The outcome of this call is unknown: {reason}. It may have run completely, partly or not at all, and it was \
                 not run again. Inspect the state before you repeat it."
            ),
            true,
        )))
    }

    /// Dispatches an open call anew, to where it is placed now; false when that is not possible, or was tried often enough. What may
    /// run once is dispatched once: the log alone shows that it did not run twice.
    async fn send_again(&mut self, call_id: EventId) -> Result<bool, Stop> {
        let Some(call) = self.state.open_call(call_id).cloned() else {
            return Ok(true);
        };
        self.placements.remove(&at(call.hand.as_ref()));
        let again = |sent: &ToolDispatched| sent.effect != Effect::Once && sent.attempt < 5;
        if !call.dispatched.as_ref().is_some_and(again) {
            return Ok(false);
        }
        let Ok(placement) = self.place(call.hand.as_ref()).await else {
            return Ok(false);
        };
        let leaving = [(call_id, self.effect(&call))];
        let drafts = self.decide(Command::Dispatch {
            calls: &leaving,
            placement,
        })?;
        self.append(drafts).await?;
        // As with a first dispatch: what was closed meanwhile must not leave.
        if self.state.interrupt.is_none() {
            self.send(call_id);
        }
        Ok(true)
    }

    /// Results, and the next model request in the same commit when nothing else is open.
    async fn append_results(&mut self, results: Vec<(EventId, Outcome)>) -> Result<Flow, Stop> {
        if results.is_empty() {
            return Ok(Flow::Continue);
        }
        let open: Vec<(EventId, Outcome)> = results
            .into_iter()
            .filter(|(call_id, _)| self.state.open_call(*call_id).is_some())
            .collect();
        let drafts = self.decide(Command::Complete {
            outcomes: &open,
            brain: self.brain(),
            compact_at: self.compact_at,
        })?;
        if drafts.is_empty() {
            return Ok(Flow::Continue);
        }
        fail::fail_point!("worker.result.before");
        // Conditional: a request that names the queue must know the whole queue.
        if !self
            .append_on(
                drafts,
                Terms {
                    only_at_head: true,
                    ready: Some(Ready::Keep),
                    ..Terms::default()
                },
            )
            .await?
        {
            self.catch_up().await?;
            return Box::pin(self.append_results(open)).await;
        }
        fail::fail_point!("worker.result.after");
        for (call_id, _) in &open {
            self.forget_call(*call_id);
        }
        for (call_id, _) in open.iter().filter(|(_, outcome)| outcome.whole.is_some()) {
            self.ports.router.drop_output(self.key, *call_id).await;
        }
        self.own_request = self.state.request;
        Ok(Flow::Continue)
    }

    /// Ends calls without running them; what runs is cancelled first.
    pub(super) async fn close(&mut self, closes: &[Close]) -> Result<Flow, Stop> {
        for close in closes {
            let dispatched = self
                .state
                .open_call(close.call_id)
                .is_some_and(|call| call.dispatched.is_some());
            if dispatched {
                self.ports.router.cancel(self.key, self.epoch, close.call_id).await;
            }
        }
        // Their outcomes no longer matter; dropping a waiter cancels nothing by itself.
        let flying = self.in_flight.len();
        self.in_flight
            .retain(|call_id| closes.iter().all(|close| close.call_id != *call_id));
        if flying > 0 && self.in_flight.is_empty() {
            self.running.abort_all();
            while self.running.join_next().await.is_some() {}
        }
        self.close_harness().await;
        let drafts = self.decide(Command::Close(closes))?;
        self.append(drafts).await?;
        Ok(Flow::Continue)
    }

    /// The same, while the log and the lease are watched: a machine may have to be made first. None when an interrupt came before.
    pub(super) async fn placed(
        &mut self,
        hand: Option<&Attachment>,
    ) -> Result<Option<Result<Placement, Unready>>, Stop> {
        if let Some(placement) = self.placement(hand) {
            return Ok(Some(Ok(placement)));
        }
        let environment = match self.works_at(hand) {
            Ok(environment) => environment,
            Err(reason) => return Ok(Some(Err(Unready::Unplaced(reason)))),
        };
        let prepares = self.prepares(hand);
        if let Some(reason) = self.unprepared.as_ref().filter(|_| prepares) {
            return Ok(Some(Err(Unready::Unprepared(reason.clone()))));
        }
        let (router, key) = (self.ports.router.clone(), self.key);
        let preparation = prepares.then(|| self.preparation());
        let begun = Mutex::new(None);
        let placing = async {
            let placement = router.place(key, &environment).await.map_err(Unready::Unplaced)?;
            if let Some(preparation) = &preparation {
                *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(placement);
                preparation.run(placement).await.map_err(Unready::Unprepared)?;
            }
            Ok(placement)
        };
        tokio::pin!(placing);
        loop {
            tokio::select! {
                biased;
                placed = &mut placing => {
                    self.placements.extend(placed.as_ref().ok().map(|placement| (at(hand), *placement)));
                    return Ok(Some(placed));
                }
                () = self.watch.lost.cancelled() => return Err(Stop::Evicted),
                () = self.drain.cancelled() => return Err(Stop::Draining),
                _ = newer(&mut self.notices, &mut self.watch.head, self.state.seq) => {}
            }
            self.catch_up().await?;
            if self.state.interrupt.is_some() {
                let begun = *begun.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(preparation), Some(begun)) = (&preparation, begun) {
                    preparation.cancel(begun).await;
                }
                return Ok(None);
            }
        }
    }

    /// Where the calls of a step go that run at once, if nothing has to be waited for there.
    pub(super) async fn places_at_once(&mut self, step: &ModelStep) -> Vec<(EventId, Placement)> {
        let mut placements = Vec::new();
        for part in &step.parts {
            let Part::ToolUse { id, name, input, .. } = part else {
                continue;
            };
            let tool = self.tools.iter().find(|tool| tool.name == *name);
            let Some(tool) = tool.filter(|tool| tool.runs_at_once(input)) else {
                continue;
            };
            let Ok(choice) = tool.chosen(input) else { continue };
            let hand = choice.and_then(|choice| choice.hand.clone());
            placements.extend(
                self.place_at_once(hand.as_ref())
                    .await
                    .map(|placement| (*id, placement)),
            );
        }
        placements
    }

    async fn place_at_once(&mut self, hand: Option<&Attachment>) -> Option<Placement> {
        if let Some(placement) = self.placement(hand) {
            return Some(placement);
        }
        // Whether its folder is ready is asked first, and waited for.
        if self.prepares(hand) {
            return None;
        }
        let environment = self.works_at(hand).ok()?;
        let placement = self.ports.router.place_at_once(self.key, &environment).await?;
        self.placements.insert(at(hand), placement);
        Some(placement)
    }

    /// Where calls of this drive were placed before, if they still can be.
    fn placement(&self, hand: Option<&Attachment>) -> Option<Placement> {
        let known = self.placements.get(&at(hand)).copied();
        known.filter(|placement| self.ports.router.stands(*placement))
    }

    /// The executor for this session's calls, chosen once per drive.
    async fn place(&mut self, hand: Option<&Attachment>) -> Result<Placement, String> {
        if let Some(placement) = self.placement(hand) {
            return Ok(placement);
        }
        let environment = self.works_at(hand)?;
        let placement = self.ports.router.place(self.key, &environment).await?;
        if self.prepares(hand) {
            self.preparation().run(placement).await?;
        }
        debug!(executor.id = %placement.executor_id, "placed");
        self.placements.insert(at(hand), placement);
        Ok(placement)
    }

    /// Whether something is to be done before the first call there: an attached machine is its owner's to prepare.
    fn prepares(&self, hand: Option<&Attachment>) -> bool {
        hand.is_none() && self.needs_preparation()
    }

    /// Where a call works that has not left yet. What was detached since it was asked for takes it no more.
    fn works_at(&self, hand: Option<&Attachment>) -> Result<EnvironmentConfig, String> {
        let attached = &self.row.agent.executors;
        match hand {
            Some(hand) if hand.executor_id == HOUSE => Ok(environment_of(Some(hand), &self.row.environment)),
            Some(hand) if attached.iter().all(|attached| attached.executor_id != hand.executor_id) => Err(format!(
                "executor {:?} is not attached to this session any more",
                hand.name
            )),
            hand => Ok(environment_of(hand, &self.row.environment)),
        }
    }

    fn effect(&self, call: &Call) -> Effect {
        self.tools
            .iter()
            .find(|tool| tool.name == call.name)
            .map_or(Effect::Once, |tool| tool.effect)
    }

    /// The tool of an MCP server that a call is for. A server that the agent has no more is nowhere.
    fn mcp_tool(&self, call: &Call) -> Option<McpTool> {
        let CallLane::Mcp { server, tool } = &call.lane else {
            return None;
        };
        let nowhere = || McpServer {
            name: server.clone(),
            place: McpPlace::Nowhere,
        };
        Some(McpTool {
            server: self.row.agent.mcp_server(server).unwrap_or_else(nowhere),
            name: tool.clone(),
        })
    }

    /// The order for an open, dispatched call.
    fn order(&self, call_id: EventId) -> Option<Order> {
        let call = self.state.open_call(call_id)?;
        let sent = call.dispatched.as_ref()?;
        let mcp = self.mcp_tool(call);
        let environment = match mcp {
            // Its networking says which servers are reached, and it where others are started.
            Some(_) => self.row.environment.clone(),
            None => environment_of(call.hand.as_ref(), &self.row.environment),
        };
        Some(Order {
            key: self.key,
            epoch: self.epoch,
            call_id,
            tool: call.name.clone(),
            input: call.input.clone(),
            effect: sent.effect,
            placement: Placement {
                executor_id: sent.executor_id,
                journal_id: sent.journal_id,
            },
            environment,
            secret: None,
            mcp,
        })
    }
}

/// By what a placement is remembered.
fn at(hand: Option<&Attachment>) -> Option<ExecutorId> {
    hand.map(|hand| hand.executor_id)
}

/// Asks what became of a call; sends it only if it was never started.
pub(super) async fn settle(router: &dyn Router, order: Order) -> Result<Outcome, CallError> {
    match router.settle(order.clone()).await? {
        Settled::Done(outcome) => Ok(outcome),
        Settled::NeverStarted => router.call(order).await,
        Settled::InDoubt { reason } => Err(CallError::Unknown(reason)),
    }
}
