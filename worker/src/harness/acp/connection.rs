//! The protocol's side of a process: its lines, the greeting, a session, and what it tells meanwhile.

use std::io;
use std::path::Path;
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    CancelNotification, ClientCapabilities, ContentBlock, HttpHeader, Implementation, InitializeRequest, McpServer,
    McpServerHttp, NewSessionRequest, PromptRequest, RequestPermissionRequest, SessionId, SessionNotification,
    SessionUpdate,
};
use agent_client_protocol::{Agent, Client, ErrorCode, Lines};
use futures_util::{sink, stream};
use perennial_engine::ports::ModelError;
use perennial_router::mcp::McpEndpoint;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::step::Heard;
use super::{SERVER, permission};
use crate::harness::fault;
use crate::harness::process::Process;

/// Lines in one direction that wait to be taken.
const QUEUE: usize = 256;
/// For an agent to start, greet and open a session: some load half of a package registry first.
const STARTING: Duration = Duration::from_secs(60);
/// For a cancelled agent to end its turn, before it is killed.
const CANCELLING: Duration = Duration::from_millis(500);

/// An agent with an open session.
#[derive(Debug)]
pub(super) struct Connection {
    name: String,
    agent: ConnectionTo<Agent>,
    session: SessionId,
    pub(super) takes_images: bool,
    process_id: Option<u32>,
    stop: CancellationToken,
    lines: AbortOnDropHandle<()>,
    _protocol: AbortOnDropHandle<()>,
}

impl Connection {
    /// Greets the agent and opens a session in which it has our tools.
    pub(super) async fn open(
        name: &str,
        process: Process,
        work: &Path,
        endpoint: Option<&McpEndpoint>,
        heard: mpsc::Sender<Heard>,
    ) -> Result<Self, ModelError> {
        let process_id = process.id();
        let stop = CancellationToken::new();
        let (to_process, from_protocol) = mpsc::channel(QUEUE);
        let (to_protocol, from_process) = mpsc::channel(QUEUE);
        let (last_words, mut gone) = oneshot::channel();
        let lines = pump(process, from_protocol, to_protocol, stop.clone(), last_words);
        let lines = AbortOnDropHandle::new(tokio::spawn(lines));
        let (ready, agent) = oneshot::channel();
        let protocol = speak(to_process, from_process, heard.clone(), ready, stop.clone());
        let protocol = AbortOnDropHandle::new(tokio::spawn(protocol));
        let opening = async {
            let agent = agent.await.map_err(|_| fault::transient("it cannot be spoken to"))?;
            let (session, takes_images) = greet(name, &agent, work, endpoint).await?;
            Ok((agent, session, takes_images))
        };
        // Its end tells more than the broken conversation that follows from it.
        let opened = tokio::select! {
            biased;
            words = &mut gone => Err(ended(name, &words.unwrap_or_default())),
            opened = timeout(STARTING, opening) => opened.unwrap_or_else(|_| {
                Err(fault::transient(format!("acp:{name} did not greet within {} s", STARTING.as_secs())))
            }),
        };
        let (agent, session, takes_images) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                stop.cancel();
                lines.await.ok();
                return Err(error);
            }
        };
        tokio::spawn({
            let name = name.to_owned();
            async move {
                if let Ok(words) = gone.await {
                    heard.send(Heard::Gone(ended(&name, &words))).await.ok();
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            agent,
            session,
            takes_images,
            process_id,
            stop,
            lines,
            _protocol: protocol,
        })
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
    pub(super) async fn end(self, mut turn: Option<mpsc::Receiver<Heard>>) {
        if let Some(heard) = &mut turn {
            self.agent
                .send_notification(CancelNotification::new(self.session.clone()))
                .ok();
            let ended = async {
                while let Some(heard) = heard.recv().await {
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

    pub(super) const fn process_id(&self) -> Option<u32> {
        self.process_id
    }
}

fn ended(name: &str, words: &str) -> ModelError {
    let words = words.trim();
    fault::transient(format!("the agent acp:{name} ended: {words}")).with_refusal_found()
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
async fn greet(
    name: &str,
    agent: &ConnectionTo<Agent>,
    work: &Path,
    endpoint: Option<&McpEndpoint>,
) -> Result<(SessionId, bool), ModelError> {
    let hello = InitializeRequest::new(ProtocolVersion::V1)
        .client_capabilities(ClientCapabilities::new())
        .client_info(Implementation::new("perennial", env!("CARGO_PKG_VERSION")));
    let hello = agent.send_request(hello).block_task().await;
    let hello = hello.map_err(|error| refused(name, &error))?;
    if hello.protocol_version != ProtocolVersion::V1 {
        return Err(fault::setup(format!(
            "acp:{name} speaks version {:?} of the protocol, and version 1 is needed",
            hello.protocol_version
        )));
    }
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

/// Carries lines between the process and the protocol until one of them ends; says what became of the process.
async fn pump(
    mut process: Process,
    mut outgoing: mpsc::Receiver<String>,
    incoming: mpsc::Sender<io::Result<String>>,
    stop: CancellationToken,
    last_words: oneshot::Sender<String>,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return process.end().await,
            line = process.next() => match line {
                Ok(Some(line)) => {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    tokio::select! {
                        () = stop.cancelled() => return process.end().await,
                        sent = incoming.send(Ok(line)) => if sent.is_err() { break },
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    last_words.send(error.to_string()).ok();
                    return process.end().await;
                }
            },
            Some(line) = outgoing.recv() => if process.say(line.trim_end()).await.is_err() { break },
        }
    }
    last_words.send(process.epitaph().await).ok();
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
                if let Some(told) = telling(told.update) {
                    heard.send(told).await.ok();
                }
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

/// What of an update matters to us; its own tools and plans do not.
fn telling(update: SessionUpdate) -> Option<Heard> {
    match update {
        SessionUpdate::AgentMessageChunk(chunk) => words(chunk.content).map(Heard::Text),
        SessionUpdate::AgentThoughtChunk(chunk) => words(chunk.content).map(Heard::Thought),
        _ => None,
    }
}

fn words(content: ContentBlock) -> Option<String> {
    match content {
        ContentBlock::Text(text) => Some(text.text),
        _ => None,
    }
}
