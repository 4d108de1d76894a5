//! A process in mid-turn: what it was asked, which results it waits for, and its next message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part, ToolSpec};
use perennial_router::mcp::{self, McpEndpoint};
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::tool::Outcome;
use perennial_schema::{AgentId, EventId, Timestamp};
use serde::Deserialize;
use tokio::time::timeout;

use super::desk::{Answers, Desk};
use super::events::{self, Event, Server};
use super::launch::{self, Start};
use super::{SERVER, Settings, TOOL_PREFIX, transcript};
use crate::harness::access::{Admitted, Wire};
use crate::harness::process::{Install, Process};
use crate::harness::{Think, fault};
use crate::model::anthropic::accumulator::Accumulator;
use crate::model::anthropic::body::{EFFORTS, NO_OUTPUT};
use crate::model::effort;

/// Why there is no next message.
#[derive(Debug)]
pub(super) enum Broken {
    /// The process is of no use any more, and nothing of a message was shown: start again from the log.
    Void(&'static str),
    /// The attempt failed.
    Failed(ModelError),
}

impl From<ModelError> for Broken {
    fn from(error: ModelError) -> Self {
        Self::Failed(error)
    }
}

/// What a process was started for; with anything else it is of no use.
#[derive(Debug, PartialEq)]
struct Asked {
    agent: AgentId,
    model: String,
    effort: Option<String>,
    system: Option<String>,
    tools: Vec<ToolSpec>,
}

impl Asked {
    fn of(ask: &Think<'_>) -> Self {
        Self {
            agent: ask.agent.id,
            model: ask.agent.model.id.clone(),
            effort: effort(&ask.agent.model).filter(|level| EFFORTS.contains(&level.as_str())),
            system: ask.agent.system.clone().filter(|system| !system.trim().is_empty()),
            tools: ask.tools.to_vec(),
        }
    }
}

/// A process and what belongs to it.
#[derive(Debug)]
pub(super) struct Live {
    process: Process,
    access: Admitted,
    endpoint: McpEndpoint,
    desk: Arc<Desk>,
    asked: Asked,
    /// How many messages the conversation had before the process's last message.
    messages: usize,
    /// The calls of its last message, by our id and the model's; empty when it waits for nothing.
    calls: Vec<(EventId, String)>,
    /// It said hello with the right tools.
    greeted: bool,
}

impl Live {
    /// Starts a process from the whole conversation.
    pub(super) async fn start(
        settings: &Settings,
        install: &Install,
        ask: &Think<'_>,
        at: Timestamp,
    ) -> Result<Self, ModelError> {
        let (admitted, access) = Admitted::at(settings.gate.clone(), ask.key, ask.agent, Wire::Messages).await?;
        let asked = Asked::of(ask);
        let desk = Desk::new();
        let endpoint = McpEndpoint::listen(ask.tools, desk.clone())
            .await
            .map_err(|error| fault::transient(format!("no MCP endpoint for Claude Code: {error}")))?;
        let session = ask.key.session.uuid();
        let transcript = transcript::render(&ask.messages, session, &access.model, at);
        let start = Start {
            session,
            transcript: &transcript,
            effort: asked.effort.as_deref(),
            system: asked.system.as_deref(),
            mcp_url: &endpoint.url(),
            mcp_token: endpoint.token(),
            access: &access,
        };
        let process = launch::spawn(settings, install, &start)
            .map_err(|error| fault::transient(format!("Claude Code could not be started: {error}")))?;
        Ok(Self {
            process,
            access: admitted,
            endpoint,
            desk,
            asked,
            messages: ask.messages.len(),
            calls: Vec::new(),
            greeted: false,
        })
    }

    /// Hands the process the results it waits for, if these messages are what it has said plus exactly those results.
    pub(super) fn resume(&mut self, ask: &Think<'_>) -> Option<()> {
        let [.., said, heard] = ask.messages.as_slice() else {
            return None;
        };
        let fits = ask.messages.len() == self.messages + 2
            && said.role == Role::Assistant
            && calls(said).eq(self.calls.iter().map(|(id, _)| *id))
            && self.asked == Asked::of(ask);
        if !fits {
            return None;
        }
        let mut outcomes = outcomes(heard)?;
        let answers: Answers = self
            .calls
            .iter()
            .map(|(id, native_id)| Some((native_id.clone(), outcomes.remove(id)?)))
            .collect::<Option<_>>()?;
        outcomes.is_empty().then(|| {
            self.desk.post(answers);
            self.messages = ask.messages.len();
        })
    }

    /// Whether it is worth keeping: it said what it says next depends on results only we have.
    pub(super) fn waits_for_results(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Its next assistant message.
    pub(super) async fn step(&mut self, silence: Duration, sink: &mut dyn DeltaSink) -> Result<ModelStep, Broken> {
        let mut message = None;
        let mut spoiled = false;
        loop {
            let line = match timeout(silence, self.process.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) if message.is_none() => return Err(Broken::Void("the process ended")),
                Ok(Ok(None)) => return Err(fault::transient("Claude Code ended in the middle of a message").into()),
                Ok(Err(error)) => return Err(fault::transient(format!("Claude Code: {error}")).into()),
                Err(_) => {
                    let seconds = silence.as_secs();
                    return Err(fault::transient(format!("Claude Code was silent for {seconds} s")).into());
                }
            };
            let event = events::parse(&line)
                .map_err(|error| fault::transient(format!("Claude Code: a line has an unknown shape: {error}")))?;
            match event {
                Event::Init { tools, servers } => self.greet(&tools, &servers)?,
                Event::Stream(event) => {
                    if self.take(&mut message, &event, sink)? {
                        let step = message.map(Accumulator::finish).transpose()?.unwrap_or_default();
                        return Ok(self.said(step, spoiled));
                    }
                }
                // It answers calls of unknown tools itself, and does so while the message still comes.
                Event::ToolResults(ids) if !ids.iter().all(|id| self.desk.has_served(id)) => match message {
                    Some(_) => spoiled = true,
                    None => return Err(Broken::Void("it made up a tool result")),
                },
                Event::Result(ending) => return Err(super::fault::ended(&ending).into()),
                Event::ToolResults(_) | Event::Other => {}
            }
        }
    }

    /// Takes a piece of the message; true when it was the last one.
    fn take(
        &mut self,
        message: &mut Option<Accumulator>,
        event: &Raw,
        sink: &mut dyn DeltaSink,
    ) -> Result<bool, ModelError> {
        if !self.greeted {
            return Err(fault::tools("Claude Code asked its model before it named its tools"));
        }
        let glance: Glance = event
            .parse()
            .map_err(|error| fault::transient(format!("Claude Code sent an unknown event: {error}")))?;
        if glance.kind == "message_start" && message.is_some() {
            return Err(fault::transient("Claude Code began its message again"));
        }
        message
            .get_or_insert_with(Accumulator::default)
            .event(event.text(), sink)?;
        match glance.stop_reason() {
            // Complete but for `message_stop`, which says nothing. Ended here and now, before the harness can ask again.
            Some(reason) if reason != "tool_use" => {
                self.process.kill();
                Ok(true)
            }
            _ => Ok(glance.kind == "message_stop"),
        }
    }

    /// The harness goes on without our tools as if nothing were wrong, so this is checked before its first message.
    fn greet(&mut self, tools: &[String], servers: &[Server]) -> Result<(), ModelError> {
        let connected = |server: &Server| server.name == SERVER && server.status == "connected";
        if !(servers.len() == 1 && servers.iter().all(connected)) {
            return Err(fault::tools(format!(
                "Claude Code did not connect to our tools: {servers:?}"
            )));
        }
        let mut offered: Vec<_> = tools.iter().map(String::as_str).collect();
        let expected: Vec<_> = self
            .asked
            .tools
            .iter()
            .map(|tool| format!("{TOOL_PREFIX}{}", tool.name))
            .collect();
        let mut expected: Vec<_> = expected.iter().map(String::as_str).collect();
        offered.sort_unstable();
        expected.sort_unstable();
        if offered != expected {
            return Err(fault::tools(format!(
                "Claude Code has other tools than ours: {offered:?}"
            )));
        }
        self.greeted = true;
        Ok(())
    }

    /// Gives tools their own names back, and notes what the process will wait for. A process that answers a call itself
    /// waits for nothing of ours.
    fn said(&mut self, mut step: ModelStep, spoiled: bool) -> ModelStep {
        self.calls.clear();
        let mut known = !spoiled;
        for part in &mut step.parts {
            let Part::ToolUse {
                id, native_id, name, ..
            } = part
            else {
                continue;
            };
            if let Some(own) = name.strip_prefix(TOOL_PREFIX) {
                *name = own.to_owned();
            }
            known &= self.asked.tools.iter().any(|tool| tool.name == *name);
            // Two calls of one id could not be told apart when they ask for their results.
            known &= self.calls.iter().all(|(_, other)| other != native_id);
            self.calls.push((*id, native_id.clone()));
        }
        if !known {
            self.calls.clear();
        }
        step
    }

    /// What became of the process, after its output ended.
    pub(super) async fn epitaph(&mut self) -> String {
        self.process.epitaph().await
    }

    /// Kills the process and frees the port.
    pub(super) async fn end(self) {
        self.process.end().await;
        self.endpoint.close().await;
        self.access.withdraw().await;
    }
}

/// What we look at ourselves in an event of the model's stream.
#[derive(Deserialize)]
struct Glance {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    delta: Option<GlanceDelta>,
}

#[derive(Deserialize)]
struct GlanceDelta {
    #[serde(default)]
    stop_reason: Option<String>,
}

impl Glance {
    fn stop_reason(&self) -> Option<&str> {
        self.delta.as_ref()?.stop_reason.as_deref()
    }
}

fn calls(message: &Message) -> impl Iterator<Item = EventId> {
    message.parts.iter().filter_map(|part| match part {
        MessagePart::ToolUse { id, .. } => Some(*id),
        _ => None,
    })
}

/// The results in a message that holds nothing else, as long as MCP can carry them without a change.
fn outcomes(message: &Message) -> Option<HashMap<EventId, Outcome>> {
    let result = |part: &MessagePart| match part {
        MessagePart::ToolResult {
            id, content, is_error, ..
        } => Some((*id, outcome(content, *is_error)?)),
        _ => None,
    };
    message.parts.iter().map(result).collect()
}

fn outcome(content: &Raw, is_error: bool) -> Option<Outcome> {
    let mut blocks: Vec<Block> = content.parse().ok()?;
    // A member that our blocks do not know would be lost on the way.
    if Raw::of(&blocks).parse::<serde_json::Value>().ok()? != content.parse::<serde_json::Value>().ok()? {
        return None;
    }
    // As it would be rendered: blank texts are refused by the provider.
    blocks.retain(|block| !matches!(block, Block::Text { text } if text.trim().is_empty()));
    if blocks.is_empty() {
        blocks.push(Block::text(NO_OUTPUT));
    }
    let outcome = Outcome {
        content: blocks,
        is_error,
        whole: None,
    };
    mcp::carries(&outcome).then_some(outcome)
}
