//! The executor as the nodes reach it: the `Router` port, answering as `router/src/dispatch.rs` does.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{CallError, Lane, Order, Placement, Router, SessionKey, Settled, ToolSpec};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::Permission;
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, SessionId};
use serde_json::json;

use crate::hands::{Hands, Word};
use crate::plan::{Fault, Op};
use crate::world::{Gate, sleep};

/// The executor as one node reaches it.
pub(crate) struct Reach {
    pub(crate) gate: Gate,
    pub(crate) hands: Arc<Hands>,
}

impl Reach {
    fn strikes(&self, fault: Option<Fault>) {
        match fault {
            Some(Fault::HandsCrash) => self.hands.crash(false),
            Some(Fault::HandsRebuilt) => self.hands.crash(true),
            _ => {}
        }
    }

    fn knows(&self, order: &Order) -> bool {
        let knows = self.hands.placement().journal_id == order.placement.journal_id;
        if !knows {
            self.gate.world.count("journal is another");
        }
        knows
    }
}

fn unknown(why: &str) -> CallError {
    CallError::Unknown(why.to_owned())
}

#[async_trait]
impl Router for Reach {
    async fn catalogue(&self, _: SessionKey, _: &AgentSnapshot, _: &EnvironmentConfig) -> Vec<ToolSpec> {
        let tool = |name: &str, lane, permission, effect| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            lane,
            permission,
            effect,
            choices: Vec::new(),
        };
        vec![
            tool("bash", Lane::Executor, Permission::Allow, Effect::Once),
            tool("ask", Lane::Executor, Permission::Ask, Effect::Once),
            tool("note", Lane::Executor, Permission::Allow, Effect::Idempotent),
            tool("look", Lane::Executor, Permission::Allow, Effect::Read),
            tool("weather", Lane::Client, Permission::Allow, Effect::Once),
        ]
    }

    async fn place(&self, _: SessionKey, _: &EnvironmentConfig) -> Result<Placement, String> {
        let fault = self.gate.enter(Op::Place).await.ok().flatten();
        let placed = self.hands.attached().await.then(|| self.hands.placement());
        self.gate.leave(fault).await;
        placed.ok_or_else(|| "no executor is attached to run this tool".into())
    }

    fn stands(&self, placement: Placement) -> bool {
        self.hands.is_away() || self.hands.placement() == placement
    }

    async fn call(&self, order: Order) -> Result<Outcome, CallError> {
        let fault = self.gate.enter(Op::Call).await.ok().flatten();
        if !self.hands.attached().await {
            return Err(unknown("the executor named at dispatch is not attached"));
        }
        if !self.knows(&order) {
            let why = "the executor goes on with another journal than when this call was placed";
            return Err(CallError::NotSent(why.into()));
        }
        // On the wire from here on: it arrives whether or not its sender lives to hear of it.
        let (hands, world) = (Arc::clone(&self.hands), Arc::clone(&self.gate.world));
        let sent = tokio::spawn(async move {
            let decision = world.chance();
            if world.roll(decision, 3).is_multiple_of(4) {
                sleep(world.roll(decision, 4) % 300).await;
            }
            // A link that broke meanwhile carries nothing.
            if hands.is_away() || hands.placement().journal_id != order.placement.journal_id {
                return None;
            }
            Some(hands.take(&order))
        });
        self.strikes(fault);
        if fault == Some(Fault::LinkCut) {
            return Err(unknown("the executor went away"));
        }
        let word = sent.await.ok().flatten();
        let outcome = match word {
            Some(Word::Wait(heard)) => match heard.await {
                Ok(outcome) => outcome.ok_or(CallError::Fenced),
                Err(_) => Err(unknown("the executor went away")),
            },
            Some(Word::Done(outcome)) => Ok(outcome),
            Some(Word::Stale) => Err(CallError::Fenced),
            Some(Word::Lost) => Err(unknown("an earlier process started this call and its outcome is lost")),
            Some(Word::NeverStarted) | None => Err(unknown("the executor went away")),
        };
        self.gate.leave(fault).await;
        outcome
    }

    async fn settle(&self, order: Order) -> Result<Settled, CallError> {
        let fault = self.gate.enter(Op::Settle).await.ok().flatten();
        let world = &self.gate.world;
        let mut strikes = fault;
        let settled = loop {
            let doubt = |why: &str| Settled::InDoubt { reason: why.to_owned() };
            if !self.hands.attached().await {
                break Ok(doubt("the executor that was given this call is gone"));
            }
            let same = self.knows(&order);
            let word = self.hands.ask(&order);
            self.strikes(strikes.take());
            match word {
                Word::Wait(heard) => match heard.await {
                    Ok(outcome) => break outcome.map(Settled::Done).ok_or(CallError::Fenced),
                    Err(_) => continue,
                },
                Word::Done(outcome) => {
                    world.count("settled: done");
                    break Ok(Settled::Done(outcome));
                }
                Word::NeverStarted if !same => break Ok(doubt("the executor that was given this call was rebuilt")),
                Word::NeverStarted => {
                    world.count("settled: never started");
                    break Ok(Settled::NeverStarted);
                }
                Word::Lost => {
                    world.count("settled: lost");
                    break Ok(doubt("it was started, and the executor lost it"));
                }
                Word::Stale => break Err(CallError::Fenced),
            }
        };
        self.gate.leave(fault).await;
        settled
    }

    async fn cancel(&self, key: SessionKey, epoch: u64, call_id: EventId) {
        let fault = self.gate.enter(Op::Cancel).await.ok().flatten();
        self.hands.cancel(key.session, epoch, call_id);
        self.gate.leave(fault).await;
    }

    async fn copy_workspace(&self, _: SessionId, _: SessionId, _: Option<ExecutorId>) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: SessionId, _: Option<ExecutorId>) {}
}
