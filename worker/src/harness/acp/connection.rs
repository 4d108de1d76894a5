//! The protocol's side of a process: its lines, the greeting, a session, and what it tells meanwhile.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    CancelNotification, ClientCapabilities, ContentBlock, HttpHeader, Implementation, InitializeRequest, McpServer,
    McpServerHttp, NewSessionRequest, PromptRequest, RequestPermissionRequest, SessionId, SessionNotification,
    SessionUpdate, ToolCallStatus,
};
use agent_client_protocol::{Agent, Client, ErrorCode, Lines};
use futures_util::{sink, stream};
use perennial_engine::ports::ModelError;
use perennial_router::mcp::McpEndpoint;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::step::{Ear, Heard};
use super::{Bounds, SERVER, permission};
use crate::harness::fault;
use crate::harness::process::Process;
use crate::limits;

/// How often the memory of an agent is looked at.
const WEIGHING: Duration = Duration::from_secs(2);
/// For a cancelled agent to end its turn, before it is killed.
const CANCELLING: Duration = Duration::from_millis(500);

/// How an agent is begun with.
#[derive(Debug)]
pub(super) struct Starting<'a> {
    pub(super) name: &'a str,
    /// Where it sees its working folder.
    pub(super) work: &'a Path,
    /// Our tools.
    pub(super) endpoint: Option<&'a McpEndpoint>,
    /// For it to start, greet and open a session.
    pub(super) patience: Duration,
    pub(super) bounds: Bounds,
}

/// An agent with an open session.
#[derive(Debug)]
pub(super) struct Connection {
    name: String,
    agent: ConnectionTo<Agent>,
    session: SessionId,
    pub(super) takes_images: bool,
    /// Bytes it wrote since its step began.
    written: Arc<AtomicU64>,
    stop: CancellationToken,
    lines: AbortOnDropHandle<()>,
    _protocol: AbortOnDropHandle<()>,
}

impl Connection {
    /// Greets the agent and opens a session in which it has our tools.
    pub(super) async fn open(
        starting: Starting<'_>,
        process: Process,
        heard: mpsc::Sender<Heard>,
    ) -> Result<Self, ModelError> {
        let Starting { name, patience, .. } = starting;
        let stop = CancellationToken::new();
        let (to_process, from_protocol) = mpsc::channel(limits::ACP_LINES);
        let (to_protocol, from_process) = mpsc::channel(limits::ACP_LINES);
        let (last_words, mut gone) = oneshot::channel();
        let pump = Pump {
            process,
            outgoing: from_protocol,
            incoming: to_protocol,
            bounds: starting.bounds,
            written: Arc::default(),
        };
        let written = pump.written.clone();
        let lines = AbortOnDropHandle::new(tokio::spawn(pump.run(stop.clone(), last_words)));
        let (ready, agent) = oneshot::channel();
        let protocol = speak(to_process, from_process, heard.clone(), ready, stop.clone());
        let protocol = AbortOnDropHandle::new(tokio::spawn(protocol));
        let opening = async {
            let agent = agent.await.map_err(|_| fault::transient("it cannot be spoken to"))?;
            let (session, takes_images) = greet(&agent, &starting).await?;
            Ok((agent, session, takes_images))
        };
        let opening = timeout(patience, opening);
        tokio::pin!(opening);
        // Its end tells more than the broken conversation that follows from it.
        let opened = tokio::select! {
            biased;
            why = &mut gone => Err(ended(name, &why.unwrap_or_default())),
            opened = &mut opening => match opened {
                Ok(Ok(opened)) => Ok(opened),
                Ok(Err(error)) => Err(match timeout(CANCELLING, &mut gone).await {
                    Ok(Ok(why)) => ended(name, &why),
                    _ => error,
                }),
                Err(_) => {
                    let seconds = patience.as_secs();
                    Err(fault::transient(format!("acp:{name} did not greet within {seconds} s")))
                }
            },
        };
        let (agent, session, takes_images) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                stop.cancel();
                lines.await.ok();
                return Err(error);
            }
        };
        tokio::spawn(async move {
            if let Ok(why) = gone.await {
                heard.send(Heard::Gone(why)).await.ok();
            }
        });
        Ok(Self {
            name: name.to_owned(),
            agent,
            session,
            takes_images,
            written,
            stop,
            lines,
            _protocol: protocol,
        })
    }

    /// What it writes from now on is another step's.
    pub(super) fn begin_step(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    /// Begins a turn; its end comes to `heard`, after everything the agent says in it.
    pub(super) fn prompt(&self, blocks: Vec<Value>, heard: mpsc::Sender<Heard>) -> Result<(), ModelError> {
        let broken = |error: &dyn std::fmt::Display| fault::transient(format!("acp:{}: {error}", self.name));
        let blocks: Result<Vec<ContentBlock>, _> = blocks.into_iter().map(serde_json::from_value).collect();
        let request = PromptRequest::new(self.session.clone(), blocks.map_err(|error| broken(&error))?);
        let name = self.name.clone();
        let sent = self
            .agent
            .prepare_request(request)
            .on_receiving_result(async move |result| {
                let ended = match result {
                    Ok(response) => Ok(response.stop_reason),
                    Err(error) => Err(refused(&name, &error)),
                };
                heard.send(Heard::Ended(ended)).await.ok();
                Ok(())
            });
        sent.map_err(|error| broken(&error))
    }

    /// Asks the agent to stop its turn, waits a little for it to do so, and ends the process.
    pub(super) async fn end(self, mut turn: Option<Ear>) {
        if let Some(ear) = &mut turn {
            self.agent
                .send_notification(CancelNotification::new(self.session.clone()))
                .ok();
            let ended = async {
                while let Some(heard) = ear.next().await {
                    if matches!(heard, Heard::Ended(_) | Heard::Gone(_)) {
                        break;
                    }
                }
            };
            timeout(CANCELLING, ended).await.ok();
        }
        self.stop.cancel();
        self.lines.await.ok();
    }
}

fn ended(name: &str, why: &str) -> ModelError {
    fault::transient(format!("acp:{name}: {why}")).with_refusal_found()
}

/// A greeting that was not returned. The library refuses other versions by itself, as an invalid answer.
fn unmet(name: &str, error: &agent_client_protocol::Error) -> ModelError {
    if error.code == ErrorCode::INVALID_PARAMS || error.code == ErrorCode::INVALID_REQUEST {
        let detail = error.data.as_ref().map(Value::to_string).unwrap_or_default();
        return fault::setup(format!(
            "acp:{name} does not speak version 1 of the protocol: {} {detail}",
            error.message
        ));
    }
    refused(name, error)
}

/// An error of the agent's, in the turn loop's terms.
fn refused(name: &str, error: &agent_client_protocol::Error) -> ModelError {
    let detail = error.data.as_ref().map(Value::to_string).unwrap_or_default();
    let message = format!("acp:{name}: {} {detail}", error.message);
    if error.code == ErrorCode::AUTH_REQUIRED {
        return fault::setup(format!(
            "{}: give it what it needs in [acp.{name}] env of the configuration",
            message.trim_end()
        ));
    }
    fault::transient(message.trim_end()).with_refusal_found()
}

/// Version, capabilities, a session. We offer the agent neither files nor terminals: its hands are our tools.
async fn greet(agent: &ConnectionTo<Agent>, starting: &Starting<'_>) -> Result<(SessionId, bool), ModelError> {
    let Starting {
        name, work, endpoint, ..
    } = *starting;
    let hello = InitializeRequest::new(ProtocolVersion::V1)
        .client_capabilities(ClientCapabilities::new())
        .client_info(Implementation::new("perennial", env!("CARGO_PKG_VERSION")));
    let hello = agent.send_request(hello).block_task().await;
    let hello = hello.map_err(|error| unmet(name, &error))?;
    let able = hello.agent_capabilities;
    let mut servers = Vec::new();
    if let Some(endpoint) = endpoint {
        if !able.mcp_capabilities.http {
            return Err(fault::setup(format!(
                "acp:{name} takes no MCP server over HTTP, so it cannot have tools here: give it an agent without tools"
            )));
        }
        let bearer = HttpHeader::new("Authorization", format!("Bearer {}", endpoint.token()));
        servers.push(McpServer::Http(
            McpServerHttp::new(SERVER, endpoint.url()).headers(vec![bearer]),
        ));
    }
    let session = agent.send_request(NewSessionRequest::new(work).mcp_servers(servers));
    let session = session.block_task().await.map_err(|error| refused(name, &error))?;
    Ok((session.session_id, able.prompt_capabilities.image))
}

/// Carries lines between the process and the protocol until one of them ends.
struct Pump {
    process: Process,
    outgoing: mpsc::Receiver<String>,
    incoming: mpsc::Sender<io::Result<String>>,
    bounds: Bounds,
    written: Arc<AtomicU64>,
}

impl Pump {
    /// Says what became of the process, unless it was told to stop.
    async fn run(mut self, stop: CancellationToken, last_words: oneshot::Sender<String>) {
        let why = tokio::select! {
            () = stop.cancelled() => None,
            why = self.carry() => Some(why),
        };
        match why {
            None => self.process.end().await,
            Some(Some(why)) => {
                self.process.end().await;
                last_words.send(format!("it was ended: {why}")).ok();
            }
            Some(None) => {
                let words = self.process.epitaph().await;
                last_words.send(format!("it ended: {words}")).ok();
            }
        }
    }

    /// Gives the reason to end the process, or none when it ended by itself.
    async fn carry(&mut self) -> Option<String> {
        let mut weighing = interval(WEIGHING);
        weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        weighing.reset();
        loop {
            tokio::select! {
                line = self.process.next() => match line {
                    Ok(Some(line)) => {
                        // The protocol's own queues have no bound: what an agent may say at all is bounded instead.
                        let length = line.len() as u64;
                        let written = self.written.fetch_add(length, Ordering::Relaxed) + length;
                        if written > self.bounds.step_bytes {
                            return Some(format!("it wrote {} KiB for one step", written / 1024));
                        }
                        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                        if self.incoming.send(Ok(line)).await.is_err() {
                            return None;
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(error.to_string()),
                },
                Some(line) = self.outgoing.recv() => if self.process.say(line.trim_end()).await.is_err() {
                    return None;
                },
                _ = weighing.tick() => {
                    let bytes = self.process.resident_bytes();
                    if bytes > self.bounds.process_bytes {
                        return Some(format!("it used {} MiB of memory", bytes / 1024 / 1024));
                    }
                }
            }
        }
    }
}

/// Speaks the protocol over these lines until it is told to stop.
async fn speak(
    outgoing: mpsc::Sender<String>,
    incoming: mpsc::Receiver<io::Result<String>>,
    heard: mpsc::Sender<Heard>,
    ready: oneshot::Sender<ConnectionTo<Agent>>,
    stop: CancellationToken,
) {
    let outgoing = sink::unfold(outgoing, |outgoing, line: String| async move {
        outgoing.send(line).await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(outgoing)
    });
    let incoming = stream::unfold(incoming, |mut incoming| async move {
        let line = incoming.recv().await?;
        Some((line, incoming))
    });
    let spoken = Client
        .v1()
        .name("perennial")
        .on_receive_notification(
            async move |told: SessionNotification, _agent| {
                heard.send(telling(told.update)).await.ok();
                Ok(())
            },
            agent_client_protocol::on_receive_notification!(),
        )
        .on_receive_request(
            async move |request: RequestPermissionRequest, responder, _agent| {
                responder.respond(permission::decide(&request))
            },
            agent_client_protocol::on_receive_request!(),
        )
        .connect_with(Lines::new(Box::pin(outgoing), Box::pin(incoming)), async |agent| {
            ready.send(agent).ok();
            stop.cancelled().await;
            Ok(())
        })
        .await;
    if let Err(error) = spoken {
        tracing::debug!(error = %error.message, "an agent's connection ended");
    }
}

/// What of an update matters to us: its plans do not, nor what its own tools do.
fn telling(update: SessionUpdate) -> Heard {
    let over = |status| matches!(status, ToolCallStatus::Completed | ToolCallStatus::Failed);
    match update {
        SessionUpdate::AgentMessageChunk(chunk) => words(chunk.content).map_or(Heard::Stirred, Heard::Text),
        SessionUpdate::AgentThoughtChunk(chunk) => words(chunk.content).map_or(Heard::Stirred, Heard::Thought),
        SessionUpdate::ToolCall(call) if !over(call.status) => Heard::Named(call.tool_call_id.to_string()),
        SessionUpdate::ToolCallUpdate(call) if call.fields.status.is_some_and(over) => {
            Heard::Settled(call.tool_call_id.to_string())
        }
        _ => Heard::Stirred,
    }
}

fn words(content: ContentBlock) -> Option<String> {
    match content {
        ContentBlock::Text(text) => Some(text.text),
        _ => None,
    }
}
