//! An answer as bytes and pauses, with what goes wrong on the way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};

use super::{Told, Wire};
use crate::reply::{Answer, Fault, Reply};

/// What a client gets.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// To be waited before the head is sent.
    pub wait: Duration,
    /// The body, in order.
    pub frames: VecDeque<Frame>,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes, after a pause.
    Data {
        /// The bytes.
        text: String,
        /// Before them.
        pause: Duration,
    },
    /// The connection breaks.
    Cut,
}

impl Frame {
    fn data(text: String) -> Self {
        Self::Data {
            text,
            pause: Duration::ZERO,
        }
    }
}

impl Response {
    /// The body over time; a frame is gone from `self` when it is given out.
    ///
    /// # Errors
    /// Where the connection is to break.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(Frame::Data { pause, .. }) = self.frames.front()
            && !pause.is_zero()
        {
            tokio::time::sleep(*pause).await;
        }
        match self.frames.pop_front()? {
            Frame::Data { text, .. } => Some(Ok(text.into())),
            Frame::Cut => {
                self.frames.clear();
                // Waiting once lets what was said before go out.
                tokio::task::yield_now().await;
                Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)))
            }
        }
    }

    /// [`Response::next`] as a stream.
    pub fn play(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::unfold(self, |mut response| async move {
            let piece = response.next().await?;
            Some((piece, response))
        })
    }
}

impl From<Reply> for Response {
    /// An answer without a request to fit it into says nothing.
    fn from(reply: Reply) -> Self {
        let (status, headers, frames) = match reply {
            Reply::Status { status, headers, body } => (status, headers, [Frame::data(body)].into()),
            Reply::Answer(_) => (200, Vec::new(), VecDeque::new()),
        };
        Self {
            status,
            headers,
            wait: Duration::ZERO,
            frames,
        }
    }
}

/// An event of a stream, and how long to wait before it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) data: Value,
    pub(crate) pause: Duration,
}

impl Event {
    pub(crate) const fn new(data: Value) -> Self {
        Self {
            data,
            pause: Duration::ZERO,
        }
    }
}

pub(super) fn respond(wire: Wire, answer: &Answer, told: Told, streamed: bool) -> Response {
    if streamed {
        return Response {
            status: 200,
            headers: vec![
                ("content-type".into(), "text/event-stream; charset=utf-8".into()),
                ("cache-control".into(), "no-cache".into()),
            ],
            wait: Duration::ZERO,
            frames: streaming(wire, answer, told.events),
        };
    }
    let wait = told.events.iter().map(|event| event.pause + answer.pause).sum();
    let body = told.whole.to_string();
    let mut reply = Reply::json(200, &Value::Null);
    let mut cut = false;
    match (&answer.fault, &mut reply) {
        (Some((_, Fault::Error { message, .. })), _) => reply = Reply::refusal(wire, 500, message),
        (Some((_, fault)), Reply::Status { body: half, .. }) => {
            *half = body[..body.floor_char_boundary(body.len() / 2)].to_owned();
            cut = matches!(fault, Fault::Cut);
        }
        (None, Reply::Status { body: whole, .. }) => *whole = body,
        (_, Reply::Answer(_)) => {}
    }
    let mut response = Response::from(reply);
    response.wait = wait;
    if cut {
        response.frames.push_back(Frame::Cut);
    }
    response
}

fn streaming(wire: Wire, answer: &Answer, events: Vec<Event>) -> VecDeque<Frame> {
    let mut frames = VecDeque::with_capacity(events.len() + 1);
    for (index, event) in events.into_iter().enumerate() {
        if let Some((at, fault)) = &answer.fault
            && *at == index
        {
            match fault {
                Fault::Cut => frames.push_back(Frame::Cut),
                Fault::Malformed => frames.push_back(Frame::data("data: {\"type\": \n\n".into())),
                Fault::Error { kind, message } => frames.push_back(Frame::data(error_event(wire, kind, message))),
            }
            if !matches!(fault, Fault::Malformed) {
                return frames;
            }
        }
        frames.push_back(Frame::Data {
            text: encode(wire, &event.data),
            pause: event.pause + answer.pause,
        });
    }
    if wire == Wire::Chat {
        frames.push_back(Frame::data("data: [DONE]\n\n".into()));
    }
    frames
}

fn encode(wire: Wire, data: &Value) -> String {
    match wire {
        Wire::Chat => format!("data: {data}\n\n"),
        Wire::Messages | Wire::Responses => {
            format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
        }
    }
}

fn error_event(wire: Wire, kind: &str, message: &str) -> String {
    encode(
        wire,
        &match wire {
            Wire::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
            Wire::Responses => json!({"type": "error", "code": kind, "message": message}),
            Wire::Chat => json!({"error": {"message": message, "type": kind, "code": kind}}),
        },
    )
}
