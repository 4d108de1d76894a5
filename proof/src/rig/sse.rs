//! An event stream as a raw client sees it.

use std::pin::Pin;

use anyhow::Result;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::StreamExt;
use serde_json::Value;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `event:`
    pub event: String,
    /// `id:`, absent on previews.
    pub seq: Option<u64>,
    /// `data:`
    pub data: Value,
}

type Events = Pin<Box<dyn futures_util::Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>;

/// An open stream.
pub struct Stream {
    events: Events,
}

impl Stream {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self {
            events: Box::pin(response.bytes_stream().eventsource()),
        }
    }

    /// The next frame with data; `None` when the server closed the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        while let Some(event) = self.events.next().await {
            let event = event?;
            if event.data.is_empty() {
                continue;
            }
            let data = serde_json::from_str(&event.data).unwrap_or(Value::String(event.data));
            let preview = matches!(event.event.as_str(), "event_start" | "event_delta" | "ping");
            let seq = if preview { None } else { event.id.parse().ok() };
            return Ok(Some(Frame {
                event: event.event,
                seq,
                data,
            }));
        }
        Ok(None)
    }
}
