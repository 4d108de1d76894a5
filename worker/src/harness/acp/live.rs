//! A live process: what it was started for, and what it waits for.

use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, ToolSpec};
use perennial_router::mcp::McpEndpoint;
use perennial_schema::content::Block;
use perennial_schema::tool::Outcome;
use perennial_schema::{AgentId, EventId};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::desk::{Answers, Desk};
use super::step::{self, Broken, Heard};
use super::{Settings, launch, prompt};
use crate::harness::access::Admitted;
use crate::harness::{Think, fault};

/// What may wait to be heard between two steps; beyond it the agent waits to be heard.
const QUEUE: usize = 1_024;

/// What a process was started for; with anything else it is of no use.
#[derive(Debug, PartialEq)]
struct Asked {
    agent: AgentId,
    model: String,
    system: Option<String>,
    tools: Vec<ToolSpec>,
}

impl Asked {
    fn of(ask: &Think<'_>) -> Self {
        Self {
            agent: ask.agent.id,
            model: ask.agent.model.id.clone(),
            system: ask.agent.system.clone(),
            tools: ask.tools.to_vec(),
        }
    }
}

/// A process and what belongs to it.
#[derive(Debug)]
pub(super) struct Live {
    name: String,
    asked: Asked,
    /// The conversation it was asked with last.
    messages: Vec<Message>,
    /// Calls it waits for, by our id of the event and of the call.
    pending: Vec<(EventId, String)>,
    desk: Arc<Desk>,
    /// None once it is being ended.
    parts: Option<Parts>,
    turn_is_over: bool,
}

#[derive(Debug)]
struct Parts {
    connection: Connection,
    heard: mpsc::Receiver<Heard>,
    endpoint: Option<McpEndpoint>,
    admitted: Admitted,
}

impl Parts {
    /// Stops the turn, kills the process, frees the port, gives the key back.
    async fn end(self, turn_is_over: bool) {
        self.connection.end((!turn_is_over).then_some(self.heard)).await;
        if let Some(endpoint) = self.endpoint {
            endpoint.close().await;
        }
        self.admitted.withdraw().await;
    }
}

impl Live {
    /// Starts a process and tells it the whole conversation.
    pub(super) async fn start(settings: &Settings, ask: &Think<'_>) -> Result<Self, ModelError> {
        let name = &settings.name;
        let (admitted, access) = Admitted::at(settings.gate.clone(), ask.key, ask.agent, settings.wire).await?;
        let (tx, heard) = mpsc::channel(QUEUE);
        let desk = Desk::new(tx.clone());
        let endpoint = if ask.tools.is_empty() {
            None
        } else {
            let listening = McpEndpoint::listen(ask.tools, desk.clone()).await;
            Some(listening.map_err(|error| fault::transient(format!("no MCP endpoint for acp:{name}: {error}")))?)
        };
        let (process, work) = launch::spawn(settings, &access).await?;
        let connection = Connection::open(name, process, &work, endpoint.as_ref(), tx.clone()).await?;
        let system = ask.agent.system.as_deref();
        let blocks = prompt::render(system, &ask.messages, connection.takes_images);
        if let Err(error) = connection.prompt(blocks, tx) {
            connection.end(None).await;
            return Err(error);
        }
        Ok(Self {
            name: name.clone(),
            asked: Asked::of(ask),
            messages: ask.messages.clone(),
            pending: Vec::new(),
            desk,
            parts: Some(Parts {
                connection,
                heard,
                endpoint,
                admitted,
            }),
            turn_is_over: false,
        })
    }

    /// Hands the process the results it waits for, if these messages bring exactly those.
    pub(super) fn resume(&mut self, ask: &Think<'_>) -> bool {
        if self.asked != Asked::of(ask) {
            return false;
        }
        let Some(answers) = answers(&self.messages, &self.pending, &ask.messages) else {
            return false;
        };
        self.desk.post(answers);
        self.pending.clear();
        self.messages.clone_from(&ask.messages);
        true
    }

    /// What the agent says next.
    pub(super) async fn step(&mut self, silence: Duration, sink: &mut dyn DeltaSink) -> Result<ModelStep, Broken> {
        let Some(parts) = &mut self.parts else {
            return Err(Broken::Void("it was ended"));
        };
        let heeded = step::listen(&self.name, &mut parts.heard, silence, sink).await?;
        self.turn_is_over = heeded.is_over;
        self.pending = calls(&heeded.step);
        Ok(heeded.step)
    }

    /// Whether it is worth keeping until the next step.
    pub(super) fn waits_for_results(&self) -> bool {
        !self.turn_is_over && !self.pending.is_empty()
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.parts.as_ref().and_then(|parts| parts.connection.process_id())
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
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

fn calls(step: &ModelStep) -> Vec<(EventId, String)> {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { id, native_id, .. } => Some((*id, native_id.clone())),
        _ => None,
    });
    calls.collect()
}

/// Results for exactly the pending calls, if that is all that came since.
fn answers(before: &[Message], pending: &[(EventId, String)], now: &[Message]) -> Option<Answers> {
    let since = now.strip_prefix(before)?;
    let [step, results] = since else { return None };
    if step.role != Role::Assistant || results.parts.len() != pending.len() {
        return None;
    }
    let mut answers = Answers::new();
    for part in &results.parts {
        let MessagePart::ToolResult {
            id, content, is_error, ..
        } = part
        else {
            return None;
        };
        let (_, name) = pending.iter().find(|(event, _)| event == id)?;
        let content: Vec<Block> = content.parse().ok()?;
        answers.insert(name.clone(), outcome(content, *is_error));
    }
    (answers.len() == pending.len()).then_some(answers)
}

fn outcome(content: Vec<Block>, is_error: bool) -> Outcome {
    let mut outcome = Outcome::text("", is_error);
    outcome.content = content;
    outcome
}
