//! A live process: what it was started for, and what it waits for.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep};
use perennial_router::mcp::McpEndpoint;
use perennial_schema::EventId;
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::tool::Outcome;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connection::{Connection, Starting};
use super::desk::Desk;
use super::step::{self, Ear};
use super::{Settings, launch, prompt};
use crate::harness::access::Admitted;
use crate::harness::asked::Asked;
use crate::harness::fault::Broken;
use crate::harness::held::{Held, answers, calls};
use crate::harness::warm::{Slot, Waiter, Waits};
use crate::harness::{Think, fault};
use crate::limits;

/// A process and what belongs to it.
#[derive(Debug)]
pub(super) struct Live {
    name: String,
    asked: Asked,
    held: Held,
    /// Calls it waits for, by our id of the event and of the call.
    pending: Vec<(EventId, String)>,
    desk: Arc<Desk>,
    process_id: Option<u32>,
    began: Instant,
    /// None once it is being ended.
    parts: Option<Parts>,
    turn_is_over: bool,
}

#[derive(Debug)]
struct Parts {
    connection: Connection,
    ear: Ear,
    endpoint: Option<McpEndpoint>,
    admitted: Admitted,
    _slot: Slot,
}

impl Parts {
    /// Stops the turn, kills the process, frees the port, gives the key back.
    async fn end(self, turn_is_over: bool) {
        self.connection.end((!turn_is_over).then_some(self.ear)).await;
        if let Some(endpoint) = self.endpoint {
            endpoint.close().await;
        }
        self.admitted.withdraw().await;
    }
}

impl Live {
    /// Starts a process and tells it the whole conversation.
    pub(super) async fn start(settings: &Settings, ask: &Think<'_>, slot: Slot) -> Result<Self, ModelError> {
        let name = &settings.name;
        let (admitted, access) = Admitted::at(settings.gate.clone(), ask.key, ask.agent, settings.wire).await?;
        let (tx, heard) = mpsc::channel(limits::ACP_HEARD);
        let desk = Desk::new(tx.clone());
        let endpoint = if ask.tools.is_empty() {
            None
        } else {
            let listening = McpEndpoint::listen(ask.tools, desk.clone()).await;
            Some(listening.map_err(|error| fault::transient(format!("no MCP endpoint for acp:{name}: {error}")))?)
        };
        let (process, work) = launch::spawn(settings, &access).await?;
        let process_id = process.id();
        let starting = Starting {
            name,
            work: &work,
            endpoint: endpoint.as_ref(),
            patience: settings.starting,
            bounds: settings.bounds(),
        };
        let connection = Connection::open(starting, process, tx.clone()).await?;
        let asked = Asked::of(ask, None);
        let blocks = prompt::render(asked.system.as_deref(), &ask.messages, connection.takes_images);
        if let Err(error) = connection.prompt(blocks, tx) {
            connection.end(None).await;
            return Err(error);
        }
        Ok(Self {
            name: name.clone(),
            asked,
            held: Held::of(&ask.messages),
            pending: Vec::new(),
            desk,
            process_id,
            began: Instant::now(),
            parts: Some(Parts {
                connection,
                ear: Ear::new(heard),
                endpoint,
                admitted,
                _slot: slot,
            }),
            turn_is_over: false,
        })
    }

    /// Hands the process the results it waits for, if these messages are what it holds and exactly those.
    pub(super) fn resume(&mut self, ask: &Think<'_>) -> Result<(), Broken> {
        if self.began.elapsed() >= limits::HARNESS_AGE {
            return Err(Broken::void("it has lived long enough"));
        }
        if self.asked != Asked::of(ask, None) {
            return Err(Broken::void("agent or tools are others now"));
        }
        let Some((last, next)) = self.held.next(&ask.messages) else {
            return Err(Broken::void("the conversation went another way"));
        };
        let Some(answers) = answers(&self.pending, last, outcome) else {
            return Err(Broken::void("it waits for other results"));
        };
        if let Some(parts) = &self.parts {
            parts.connection.begin_step();
        }
        self.desk.post(answers);
        self.pending.clear();
        self.held = next;
        Ok(())
    }

    /// What the agent says next.
    pub(super) async fn step(&mut self, settings: &Settings, sink: &mut dyn DeltaSink) -> Result<ModelStep, Broken> {
        let Some(parts) = &mut self.parts else {
            return Err(Broken::void("it was ended"));
        };
        let heeded = step::listen(&self.name, &mut parts.ear, settings.silence, sink).await?;
        self.turn_is_over = heeded.is_over;
        self.pending = calls(&heeded.step);
        self.held = self.held.and(&heeded.step);
        Ok(heeded.step)
    }

    /// What it waits for, if it is worth keeping. Between turns nothing is: the protocol has no way to hand a process of
    /// another worker the same conversation, so that every turn would be another one.
    pub(super) fn waits(&self) -> Option<Waits> {
        (!self.turn_is_over && !self.pending.is_empty()).then_some(Waits::ForResults)
    }
}

#[async_trait]
impl Waiter for Live {
    async fn spoils(&mut self) -> String {
        match &mut self.parts {
            Some(parts) => parts.ear.overhear().await,
            None => "it was ended".into(),
        }
    }

    fn resident_bytes(&self) -> u64 {
        self.process_id.map_or(0, crate::harness::process::resident_bytes)
    }

    fn process_id(&self) -> Option<u32> {
        self.process_id
    }

    /// Ends it.
    async fn end(mut self) {
        if let Some(parts) = self.parts.take() {
            parts.end(self.turn_is_over).await;
        }
    }
}

impl Drop for Live {
    /// The step was given up in the middle: the agent is told so, and ended in the background.
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) {
            runtime.spawn(parts.end(self.turn_is_over));
        }
    }
}

fn outcome(content: &Raw, is_error: bool) -> Option<Outcome> {
    let mut outcome = Outcome::text("", is_error);
    outcome.content = content.parse::<Vec<Block>>().ok()?;
    Some(outcome)
}
