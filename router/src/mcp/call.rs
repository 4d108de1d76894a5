//! A call to a server's tool. It goes on when nobody waits for it any more: only an explicit cancel, its deadline or the end of this
//! process end it (DESIGN §7).
//!
//! **Invariant:** a server keeps no journal. Of a call whose answer did not arrive it is said that nobody knows, and nothing here
//! sends it a second time.

use std::sync::Arc;

use perennial_engine::ports::{CallError, McpTool, Order, SessionKey, Settled};
use perennial_schema::mcp::McpPlace;
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, span_of};
use rmcp::model::{CallToolRequestParams, CallToolResponse, JsonObject, RequestMetaObject};
use rmcp::service::ServiceError;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::line::{refuses, sources};
use super::offer::refusal;
use super::way::Way;
use super::{Mounts, content};
use crate::limits;

/// By what a server may know a call again.
const CALL_ID: &str = "perennial/callId";

type Ended = Option<Result<Outcome, CallError>>;

/// A call under way.
#[derive(Clone)]
pub(super) struct Running {
    ended: watch::Receiver<Ended>,
    cancel: CancellationToken,
}

impl Running {
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
    }

    async fn end(mut self) -> Result<Outcome, CallError> {
        match self.ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ended)) => ended.clone(),
            Ok(None) | Err(_) => Err(CallError::Unknown("the process that made the call ended".into())),
        }
    }
}

impl Mounts {
    /// Makes a call, or waits for it if it is under way.
    pub(crate) async fn call(self: &Arc<Self>, order: Order, tool: McpTool, way: Way) -> Result<Outcome, CallError> {
        let id = (order.key.session, order.call_id);
        let running = {
            let mut calls = self.running();
            match calls.get(&id) {
                Some(running) => running.clone(),
                None if calls.len() >= limits::MCP_CALLS => {
                    return Err(CallError::NotStarted(
                        "too many calls to MCP servers are under way".into(),
                    ));
                }
                None => {
                    let (tell, ended) = watch::channel(None);
                    let running = Running {
                        ended,
                        cancel: CancellationToken::new(),
                    };
                    let (mounts, cancel) = (Arc::clone(self), running.cancel.clone());
                    self.calls.spawn(async move {
                        let came = mounts.made(&order, &tool, &way, cancel).await;
                        mounts.running().remove(&id);
                        tell.send_replace(Some(came));
                    });
                    calls.insert(id, running.clone());
                    running
                }
            }
        };
        running.end().await
    }

    /// What became of a call: this process knows of those that it makes.
    pub(crate) async fn settle(&self, key: SessionKey, call_id: EventId) -> Result<Settled, CallError> {
        let running = self.running().get(&(key.session, call_id)).cloned();
        match running {
            Some(running) => running.end().await.map(Settled::Done),
            None => Ok(Settled::InDoubt {
                reason: match self.lost((key.session, call_id)) {
                    Some(why) => format!("the answer was lost ({why})"),
                    None => "the answer of the MCP server was lost".into(),
                },
            }),
        }
    }

    /// Tells the server that nobody wants the result.
    pub(crate) fn cancel(&self, key: SessionKey, call_id: EventId) {
        if let Some(running) = self.running().get(&(key.session, call_id)) {
            running.cancel();
        }
    }

    async fn made(
        &self,
        order: &Order,
        tool: &McpTool,
        way: &Way,
        cancel: CancellationToken,
    ) -> Result<Outcome, CallError> {
        let server = &tool.server;
        if server.place == McpPlace::Nowhere {
            return not_started(format!("{:?} is no MCP server of this agent any more", server.name));
        }
        let connected = self.connected(order.key, &server.place, way).await;
        let connected = match connected {
            Ok(connected) => connected,
            Err(trouble) => return not_started(format!("MCP server {:?}: {}", server.name, trouble.reason)),
        };
        // A person may have approved the call long ago: what the tool says of itself now is what counts.
        let Some(card) = connected.listed.tools.iter().find(|card| card.name == tool.name) else {
            return not_started(format!(
                "MCP server {:?} has no tool {:?} any more",
                server.name, tool.name
            ));
        };
        if let Some(reason) = refusal(&connected.approved, card) {
            return not_started(format!("MCP server {:?}: {reason}", server.name));
        }
        let Ok(arguments) = order.input.parse::<JsonObject>() else {
            return Ok(Outcome::text("the input of a tool is an object", true));
        };
        let mut params = CallToolRequestParams::new(tool.name.clone()).with_arguments(arguments);
        let mut meta = RequestMetaObject::default();
        meta.insert(CALL_ID.to_owned(), order.call_id.to_string().into());
        // The server goes on in this trace if it likes (SEP-414); whoever traces nothing sends nothing.
        if let Some(here) = perennial_telemetry::here(order.key.session) {
            let call = here.with_span(span_of(order.call_id.uuid()));
            meta.set_traceparent(call.to_string());
        }
        params.meta = Some(meta);
        let peer = connected.line.peer();
        // Dropped, it tells the server so.
        let answer = timeout(limits::MCP_CALL, peer.call_tool_once(params));
        let answer = tokio::select! {
            () = cancel.cancelled() => return Ok(Outcome::text("the call was cancelled", true)),
            answer = answer => answer,
        };
        match answer {
            Err(_) => Ok(Outcome::text(
                format!(
                    "MCP server {:?} did not answer within {} s and was told to stop. What it had done by then is not known.",
                    server.name,
                    limits::MCP_CALL.as_secs()
                ),
                true,
            )),
            Ok(Ok(CallToolResponse::Complete(result))) => Ok(content::outcome(result)),
            Ok(Ok(_)) => Ok(Outcome::text(
                format!(
                    "MCP server {:?} wants to be asked in several steps, which is not done here",
                    server.name
                ),
                true,
            )),
            Ok(Err(ServiceError::McpError(error))) => Ok(Outcome::text(
                format!(
                    "MCP server {:?} refused the call: {}",
                    server.name,
                    content::line(&error.message)
                ),
                true,
            )),
            Ok(Err(error)) => {
                self.drop_line(order.key, &server.place).await;
                let lost = lost(
                    format!("MCP server {:?}: {}", server.name, connected.line.why(&error).await),
                    &error,
                );
                if let Err(CallError::Unknown(why)) = &lost {
                    self.note_lost((order.key.session, order.call_id), why.clone());
                }
                lost
            }
        }
    }
}

fn not_started<T>(reason: String) -> Result<T, CallError> {
    Err(CallError::NotStarted(reason))
}

/// The answer did not come. Only what shows that the server never took the call says that it did not run.
fn lost(reason: String, error: &ServiceError) -> Result<Outcome, CallError> {
    let never_left = |error: &(dyn std::error::Error + 'static)| {
        let http = error.downcast_ref::<reqwest::Error>();
        http.is_some_and(reqwest::Error::is_connect)
    };
    let ServiceError::TransportSend(transport) = error else {
        return Err(CallError::Unknown(reason));
    };
    let cause: &(dyn std::error::Error + 'static) = transport.error.as_ref();
    match refuses(cause) || sources(cause).any(never_left) {
        true => not_started(reason),
        false => Err(CallError::Unknown(reason)),
    }
}
