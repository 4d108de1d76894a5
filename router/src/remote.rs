//! The router of a process without hands (`perennial serve`): it knows what tools an agent has and what policy says of them,
//! and what the workspaces of other hosts need is asked over the bus of whoever reaches them. Machines that dialled in are
//! reached from every process, so calls to them leave from here too.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{
    Bus, CallError, Hearer, Mounted, Order, Placement, Router, SessionKey, Settled, ToolSpec, Unanswered,
};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{Card, FromExecutor, PackAnswer, PackAsk, ToExecutor};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId, PackId, SessionId, WorkspaceId};
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::look::{ANY_JOURNAL, Looks};
use crate::pack::ANYBODY;
use crate::relay::Answer;
use crate::{limits, look, output, pack};

/// Asks others.
pub struct Remote {
    bus: Arc<dyn Bus>,
    guests: Arc<Exchange>,
    looks: Looks,
}

/// What an executor said, if it did.
fn frame(answer: Answer) -> Option<FromExecutor> {
    match answer {
        Answer::Frame(frame) => Some(frame),
        Answer::Working { .. } | Answer::Done | Answer::Refused => None,
    }
}

const NO_HANDS: &str = "this process runs no tools: a worker does";

impl Remote {
    /// A router over this bus, and over the exchange that machines dial in to or are reached through.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, guests: Arc<Exchange>) -> Self {
        Self {
            bus,
            guests,
            looks: Looks::default(),
        }
    }

    /// Whether calls to where an environment says leave from here: a machine that dialled in, or a sandbox.
    fn leaves_here(&self, environment: &EnvironmentConfig) -> bool {
        environment.executor().is_some() || self.guests.sandboxes_of(environment).is_some()
    }

    /// One question, asked until it is answered or it is clear that nobody does.
    async fn ask(&self, at: ExecutorId, question: &ToExecutor) -> Result<Answer, String> {
        let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let (body, mut at) = (Bytes::from(body), at);
        let mut tries = 0;
        loop {
            match self.bus.request(at, body.clone()).await {
                Ok(answer) => match serde_json::from_slice(&answer) {
                    // Whoever is at it knows how far it is: ask there.
                    Ok(Answer::Working { at: desk }) => (at, tries) = (desk, 0),
                    Ok(answer) => return Ok(answer),
                    Err(error) => return Err(format!("the answer cannot be read: {error}")),
                },
                Err(Unanswered) => tries += 1,
            }
            if tries >= limits::REMOTE_TRIES {
                return Err("no worker that reaches its workspace answers".into());
            }
        }
    }

    async fn copy(&self, from: SessionId, to: SessionId, at: ExecutorId) -> Result<(), String> {
        let question = ToExecutor::CopyWorkspace { from, to };
        let answer = timeout(limits::COPY_WAIT, self.ask(at, &question)).await;
        match answer.map_err(|_| "the copy took too long".to_owned())?? {
            Answer::Frame(FromExecutor::WorkspaceCopied { error: None, .. }) => Ok(()),
            Answer::Frame(FromExecutor::WorkspaceCopied { error: Some(error), .. }) => Err(error),
            other => Err(format!("unexpected answer {other:?}")),
        }
    }
}

#[async_trait]
impl Router for Remote {
    /// Nobody here knows whether anything contains the hands of other hosts.
    async fn catalogue(
        &self,
        key: SessionKey,
        agent: &AgentSnapshot,
        environment: &EnvironmentConfig,
    ) -> Vec<ToolSpec> {
        self.guests.catalogue(key, agent, environment).await
    }

    async fn mounted(&self, key: SessionKey, agent: &AgentSnapshot, environment: &EnvironmentConfig) -> Mounted {
        self.guests.mounted(key, agent, environment).await
    }

    async fn place(&self, key: SessionKey, environment: &EnvironmentConfig) -> Result<Placement, String> {
        self.guests.know_hosts().await;
        match self.leaves_here(environment) {
            true => self.guests.place(key, environment).await,
            false => Err(NO_HANDS.into()),
        }
    }

    /// What only looks at a folder of another host is answered by whoever reaches that.
    async fn place_to_look(
        &self,
        key: SessionKey,
        environment: &EnvironmentConfig,
        at: Option<ExecutorId>,
    ) -> Result<Placement, String> {
        self.guests.know_hosts().await;
        match at {
            // It has a folder there, whatever has become of its environment since.
            Some(executor_id) if environment.executor().is_none() => Ok(Placement {
                executor_id,
                journal_id: ANY_JOURNAL,
            }),
            None if !self.leaves_here(environment) => Err("nothing has run in it yet".into()),
            _ => self.guests.place_to_look(key, environment, at).await,
        }
    }

    fn stands(&self, placement: Placement) -> bool {
        self.guests.stands(placement)
    }

    async fn call(&self, order: Order) -> Result<Outcome, CallError> {
        if order.placement.journal_id != ANY_JOURNAL {
            return match self.leaves_here(&order.environment) {
                true => self.guests.call(order).await,
                false => Err(CallError::NotStarted(NO_HANDS.into())),
            };
        }
        let (at, call) = (order.placement.executor_id, order.call_id);
        let question = look::question(order)?;
        let answer = timeout(limits::COPY_WAIT, self.ask(at, &question)).await;
        let answer = answer.map_err(|_| CallError::NotStarted("it took too long".into()))?;
        let outcome = look::outcome(frame(answer.map_err(CallError::NotStarted)?))?;
        if outcome.whole.is_some() {
            self.looks.note(call, at);
        }
        Ok(outcome)
    }

    async fn call_aloud(&self, order: Order, hearer: Hearer) -> Result<Outcome, CallError> {
        match self.leaves_here(&order.environment) {
            true => self.guests.call_aloud(order, hearer).await,
            false => Err(CallError::NotStarted(NO_HANDS.into())),
        }
    }

    async fn settle(&self, order: Order) -> Result<Settled, CallError> {
        match self.leaves_here(&order.environment) {
            true => self.guests.settle(order).await,
            false => Err(CallError::Unknown(NO_HANDS.into())),
        }
    }

    async fn look_at(&self, workspace: WorkspaceId, executor: ExecutorId) -> Result<Card, String> {
        self.guests.look_at(workspace, executor).await
    }

    async fn cancel(&self, key: SessionKey, epoch: u64, call_id: EventId) {
        self.guests.cancel(key, epoch, call_id).await;
    }

    async fn output(&self, order: &Order, offset: u64) -> Result<Bytes, String> {
        if order.placement.journal_id == ANY_JOURNAL {
            let question = ToExecutor::ReadOutput {
                session: order.key.session,
                call_id: order.call_id,
                offset,
            };
            return match frame(self.ask(order.placement.executor_id, &question).await?) {
                Some(FromExecutor::OutputPiece { piece: Some(piece), .. }) => output::decode(&piece),
                _ => Err("the executor does not have it any more".into()),
            };
        }
        match self.leaves_here(&order.environment) {
            true => self.guests.output(order, offset).await,
            false => Err(NO_HANDS.into()),
        }
    }

    async fn drop_output(&self, key: SessionKey, call_id: EventId) {
        if let Some(at) = self.looks.take(call_id) {
            let session = key.session;
            // What is not dropped goes with its age.
            let _ = self.ask(at, &ToExecutor::DropOutput { session, call_id }).await;
            return;
        }
        self.guests.drop_output(key, call_id).await;
    }

    /// Without a place there is no folder yet, so there is nothing to copy.
    async fn copy_workspace(&self, from: SessionId, to: SessionId, at: Option<ExecutorId>) -> Result<(), String> {
        match at {
            Some(at) => self.copy(from, to, at).await,
            None if self.guests.has_sandbox(from).await => Err("its files are in a sandbox, and stay there".into()),
            None => Ok(()),
        }
    }

    async fn pack(
        &self,
        at: Option<ExecutorId>,
        pack: PackId,
        ask: PackAsk,
    ) -> Result<(ExecutorId, PackAnswer), String> {
        let question = ToExecutor::Pack { pack, ask: ask.clone() };
        let answer = timeout(limits::COPY_WAIT, self.ask(at.unwrap_or(ANYBODY), &question)).await;
        match answer.map_err(|_| "the executor took too long".to_owned())?? {
            Answer::Frame(frame) => pack::answered(frame, &ask),
            other => Err(format!("unexpected answer {other:?}")),
        }
    }

    async fn leave(&self, session: SessionId, at: ExecutorId) {
        if let Some(workspace) = self.guests.guest_of(at).await {
            self.guests.make_ready(SessionKey { workspace, session }, at).await;
            self.guests.leave(session, at).await;
        }
    }

    async fn forget(&self, session: SessionId, at: Option<ExecutorId>) {
        self.guests.retire_sandbox(session).await;
        let Some(at) = at else { return };
        if let Some(workspace) = self.guests.guest_of(at).await {
            let key = SessionKey { workspace, session };
            self.guests.make_ready(key, at).await;
            return self.guests.forget(session, Some(at)).await;
        }
        if let Err(error) = self.ask(at, &ToExecutor::Forget { session }).await {
            // Its shell ends with its idle time.
            tracing::info!(session.id = %session, %error, "a deleted session's executor was not told");
        }
    }
}
