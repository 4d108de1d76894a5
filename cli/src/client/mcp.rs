//! Messages of the Model Context Protocol to the server, and what comes back for each.

use std::sync::{Mutex, PoisonError};

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Client, authorization};
use crate::error::Error;

/// What a request names itself by beside its method, since the revision without a handshake.
const NAMED: [(&str, &str); 3] = [
    ("tools/call", "name"),
    ("prompts/get", "name"),
    ("resources/read", "uri"),
];
/// Where that revision says which one it is.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// One client's messages: what a handshake came to goes with those that follow it.
pub struct Conversation {
    client: Client,
    path: String,
    agreed: Mutex<HeaderMap>,
}

impl Conversation {
    /// With the server's endpoint at this path.
    pub fn new(client: Client, path: String) -> Self {
        Self {
            client,
            path,
            agreed: Mutex::default(),
        }
    }

    /// Sends a message; each that comes back for it goes to `told`, as one line.
    pub async fn send(&self, message: &Value, told: &mpsc::Sender<String>) -> Result<(), Error> {
        let server = self.client.server()?;
        let request = self
            .client
            .http
            .post(server.url(&self.path))
            .headers(authorization(&server)?)
            .headers(self.agreed().clone())
            .headers(named(message))
            .header(ACCEPT, "application/json, text/event-stream")
            .json(message);
        let response = request.send().await.map_err(|error| server.unreachable(error))?;
        let (status, head) = (response.status(), response.headers().clone());
        if status == StatusCode::ACCEPTED {
            return Ok(());
        }
        let kind = head.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if kind.starts_with(b"text/event-stream") {
            let mut events = response.bytes_stream().eventsource();
            while let Some(event) = events.next().await {
                let event = event.map_err(|error| Error::Failed(format!("the answer broke off: {error}")))?;
                if !event.data.is_empty() {
                    self.agree(message, &head, &event.data);
                    tell(told, event.data).await;
                }
            }
            return Ok(());
        }
        let text = response.text().await.map_err(|error| server.unreachable(error))?;
        // A refusal of the protocol is an answer like others.
        if serde_json::from_str::<Value>(&text).is_ok_and(|answer| answer["jsonrpc"] == "2.0") {
            self.agree(message, &head, &text);
            tell(told, text).await;
            return Ok(());
        }
        Err(super::refusal(status, &head, &text))
    }

    /// Says goodbye, if there was a handshake.
    pub async fn end(&self) {
        let agreed = self.agreed().clone();
        let (Ok(server), false) = (self.client.server(), agreed.is_empty()) else {
            return;
        };
        let Ok(key) = authorization(&server) else { return };
        let request = self
            .client
            .http
            .delete(server.url(&self.path))
            .headers(key)
            .headers(agreed);
        // It forgets us by itself as well.
        let _ = request.send().await;
    }

    fn agreed(&self) -> std::sync::MutexGuard<'_, HeaderMap> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the answer to a handshake says.
    fn agree(&self, message: &Value, head: &HeaderMap, answer: &str) {
        if message["method"] != "initialize" {
            return;
        }
        let mut agreed = self.agreed();
        let session = HeaderName::from_static("mcp-session-id");
        if let Some(id) = head.get(&session) {
            agreed.insert(session, id.clone());
        }
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        if let Some(version) = answer["result"]["protocolVersion"].as_str() {
            insert(&mut agreed, "mcp-protocol-version", version);
        }
    }
}

/// Nobody may be listening any more.
async fn tell(told: &mpsc::Sender<String>, message: String) {
    // JSON has line ends only between its parts.
    let _ = told.send(message.replace(['\n', '\r'], " ")).await;
}

/// The headers that repeat what a message says.
fn named(message: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(version) = message["params"]["_meta"][VERSION].as_str() else {
        return headers;
    };
    insert(&mut headers, "mcp-protocol-version", version);
    let method = message["method"].as_str().unwrap_or_default();
    insert(&mut headers, "mcp-method", method);
    let name = NAMED.iter().find(|(named, _)| *named == method);
    if let Some(name) = name.and_then(|(_, field)| message["params"][*field].as_str()) {
        insert(&mut headers, "mcp-name", name);
    }
    headers
}

/// What a header cannot carry is left to the server to miss.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
