//! Event streams, resumed by `Last-Event-ID` after whatever happened to the connection or the server.

use std::pin::Pin;

use eventsource_stream::{Event, Eventsource};
use futures_util::{Stream, StreamExt};
use perennial_schema::mail::Address;
use serde_json::Value;

use super::{Client, Retries, limits};
use crate::error::Error;

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Place in the log; previews have none.
    pub seq: Option<u64>,
    /// Event type.
    pub kind: String,
    /// The event's JSON, as sent.
    pub text: String,
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;

/// An event stream that never ends by itself: connected again, behind the last event seen, whatever happens.
struct Stubborn {
    client: Client,
    path: String,
    query: Vec<(&'static str, String)>,
    /// Id of the last event seen.
    last: Option<String>,
    connected: bool,
    events: Option<Events>,
    retries: Retries,
    /// A pause that is due before the next connection; kept here because `next` may be dropped while it waits.
    pause: bool,
}

impl Stubborn {
    fn new(client: Client, path: String, query: Vec<(&'static str, String)>, last: Option<String>) -> Self {
        Self {
            retries: Retries::new(limits::PATIENCE),
            client,
            path,
            query,
            last,
            connected: false,
            events: None,
            pause: false,
        }
    }

    /// The next event. Waits for a server that restarts, for a bounded time. Safe to drop and call again.
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if self.pause {
                self.retries.pause().await;
                self.pause = false;
            }
            if let Err(error) = self.connect().await {
                self.retry(error)?;
                continue;
            }
            let Some(events) = self.events.as_mut() else { continue };
            match events.next().await {
                Some(Ok(event)) if event.event == "error" => {
                    let error = stream_error(&event.data);
                    self.events = None;
                    self.retry(error)?;
                }
                Some(Ok(event)) if event.event == "ping" || event.data.is_empty() => {}
                Some(Ok(event)) => {
                    self.retries.progress();
                    // Events without an id repeat the one before, as the SSE specification says.
                    if !event.id.is_empty() {
                        self.last = Some(event.id.clone());
                    }
                    return Ok(event);
                }
                Some(Err(_)) | None => {
                    // Cut off: by a restart, or because we were too slow. The next connection goes on where this one ended.
                    self.events = None;
                    self.pause = true;
                }
            }
        }
    }

    fn retry(&mut self, error: Error) -> Result<(), Error> {
        // Before the first connection there is nothing to resume: a server that is not there is an error at once.
        if self.connected && self.retries.worthwhile(&error) {
            self.pause = true;
            return Ok(());
        }
        Err(error)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.events.is_some() {
            return Ok(());
        }
        let response = self.client.open(&self.path, &self.query, self.last.as_deref()).await?;
        self.retries.connected();
        self.connected = true;
        let events = response.bytes_stream().eventsource();
        self.events = Some(Box::pin(events.map(|event| {
            event.map_err(|error| Error::Failed(format!("the stream broke: {error}")))
        })));
        Ok(())
    }
}

/// The stream of one session.
pub struct Feed {
    stream: Stubborn,
    /// Seq of the last event seen.
    last: u64,
}

impl Feed {
    /// A stream of what follows `after`, with previews of messages and of what tools print. Connects with the first `next`.
    pub fn new(client: Client, session: &str, after: u64) -> Self {
        let path = format!("/v1/sessions/{session}/events/stream");
        // Extensions too: without them the last number seen could stay below the head, and resting could not be told.
        let query = vec![
            ("event_deltas[]", "agent.message".to_owned()),
            ("event_deltas[]", "agent.tool_result".to_owned()),
            ("include", "extensions".to_owned()),
        ];
        Self {
            stream: Stubborn::new(client, path, query, Some(after.to_string())),
            last: after,
        }
    }

    /// Seq of the last event given out.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The next event. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            let event = self.stream.next().await?;
            if let Some(frame) = self.frame(event) {
                return Ok(frame);
            }
        }
    }

    fn frame(&mut self, event: Event) -> Option<Frame> {
        let preview = matches!(event.event.as_str(), "event_start" | "event_delta");
        let seq = if preview { None } else { event.id.parse().ok() };
        if let Some(seq) = seq {
            if seq <= self.last {
                return None;
            }
            self.last = seq;
        }
        Some(Frame {
            seq,
            kind: event.event,
            text: event.data,
        })
    }
}

/// The stream of all sessions: as they are, then as they change.
pub struct Changes(Stubborn);

impl Changes {
    /// Connects with the first `next`.
    pub fn new(client: Client) -> Self {
        Self(Stubborn::new(client, "/v1/feed".to_owned(), Vec::new(), None))
    }

    /// The next event: `session`, `session_deleted` or `live`.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        let event = self.0.next().await?;
        Ok(Frame {
            seq: None,
            kind: event.event,
            text: event.data,
        })
    }
}

/// The messages of a mailbox, each again whenever it changes its state, from the first connection on.
pub struct MailFeed(Stubborn);

impl MailFeed {
    /// Of the mailbox at this address. Connects with the first `next`.
    pub fn new(client: Client, mailbox: &Address) -> Self {
        let path = format!("/v1/mailboxes/{mailbox}/stream");
        Self(Stubborn::new(client, path, Vec::new(), None))
    }

    /// The next event: `live`, from which on nothing is missed, or `mail`. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        let event = self.0.next().await?;
        Ok(Frame {
            seq: None,
            kind: event.event,
            text: event.data,
        })
    }
}

/// An `error` frame: retried when it says that it is the server's fault.
fn stream_error(data: &str) -> Error {
    let body: Value = serde_json::from_str(data).unwrap_or_default();
    let kind = body["error"]["type"].as_str().unwrap_or("api_error");
    let status = match kind {
        "not_found_error" => 404,
        "authentication_error" => 401,
        "permission_error" => 403,
        "invalid_request_error" => 400,
        _ => 503,
    };
    Error::Api {
        status,
        kind: kind.to_owned(),
        message: body["error"]["message"]
            .as_str()
            .unwrap_or("the stream ended with an error")
            .to_owned(),
        request_id: body["request_id"].as_str().map(str::to_owned),
    }
}
