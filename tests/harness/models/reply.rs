//! What a scripted model server answers, in words that fit every vendor.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Frame, Vendor};

/// An answer to one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A stream.
    Answer(Answer),
    /// Anything else.
    Status {
        /// HTTP status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
}

impl Reply {
    /// An error in the shape that both vendors use.
    #[must_use]
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}});
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Status {
            status,
            headers,
            body: body.to_string(),
        }
    }

    /// The same with a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.retain(|(given, _)| given != name);
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// What a model says in one step, and what goes wrong meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(super) parts: Vec<Said>,
    pub(super) stop: Stop,
    fault: Option<(usize, Fault)>,
    pause: Duration,
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Thinking(String),
    /// Pieces, each after a pause.
    Text(Vec<String>, Duration),
    Tool {
        name: String,
        input: String,
    },
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    End,
    MaxTokens,
    Refusal,
}

#[derive(Clone, Debug)]
enum Fault {
    Cut,
    Malformed,
    Error { kind: String, message: String },
}

/// An event of a stream, and how long to wait before it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) data: Value,
    pub(super) pause: Duration,
}

impl Event {
    pub(super) const fn new(data: Value) -> Self {
        Self {
            data,
            pause: Duration::ZERO,
        }
    }
}

impl Answer {
    /// One that says nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Thinks (a signed block, or encrypted reasoning).
    #[must_use]
    pub fn thinking(self, text: &str) -> Self {
        self.and(Said::Thinking(text.to_owned()))
    }

    /// Says a text, in these pieces.
    #[must_use]
    pub fn text(self, pieces: &[&str]) -> Self {
        self.and(Said::Text(
            pieces.iter().map(|piece| (*piece).to_owned()).collect(),
            Duration::ZERO,
        ))
    }

    /// Asks for a tool.
    #[must_use]
    pub fn tool(self, name: &str, input: &Value) -> Self {
        self.and(Said::Tool {
            name: name.to_owned(),
            input: input.to_string(),
        })
    }

    /// Stops for lack of tokens.
    #[must_use]
    pub const fn max_tokens(mut self) -> Self {
        self.stop = Stop::MaxTokens;
        self
    }

    /// Stops as a refusal.
    #[must_use]
    pub const fn refusal(mut self) -> Self {
        self.stop = Stop::Refusal;
        self
    }

    /// Waits before each event.
    #[must_use]
    pub const fn every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Breaks the connection after this many events.
    #[must_use]
    pub fn cut_after(mut self, events: usize) -> Self {
        self.fault = Some((events, Fault::Cut));
        self
    }

    /// Sends an event that is not JSON after this many.
    #[must_use]
    pub fn malformed_after(mut self, events: usize) -> Self {
        self.fault = Some((events, Fault::Malformed));
        self
    }

    /// Ends in an error event after this many events.
    #[must_use]
    pub fn error_after(mut self, events: usize, kind: &str, message: &str) -> Self {
        self.fault = Some((
            events,
            Fault::Error {
                kind: kind.to_owned(),
                message: message.to_owned(),
            },
        ));
        self
    }

    pub(super) fn and(mut self, part: Said) -> Self {
        self.parts.push(part);
        self
    }

    pub(super) fn with_faults(&self, vendor: Vendor, events: Vec<Event>) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            if let Some((at, fault)) = &self.fault
                && *at == index
            {
                match fault {
                    Fault::Cut => frames.push(Frame::Cut),
                    Fault::Malformed => frames.push(Frame::data("data: {\"type\": \n\n".into())),
                    Fault::Error { kind, message } => frames.push(Frame::data(error_event(vendor, kind, message))),
                }
                if !matches!(fault, Fault::Malformed) {
                    return frames;
                }
            }
            let pause = event.pause + self.pause;
            frames.push(Frame::Data {
                text: encode(&event.data),
                pause,
            });
        }
        frames
    }
}

fn encode(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

fn error_event(vendor: Vendor, kind: &str, message: &str) -> String {
    encode(&match vendor {
        Vendor::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
        Vendor::OpenAi => json!({"type": "error", "code": kind, "message": message}),
    })
}
