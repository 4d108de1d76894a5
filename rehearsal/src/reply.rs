//! What a scripted model answers, in words that fit every vendor.

use std::time::Duration;

use serde_json::{Value, json};

use crate::script::{Act, Step};
use crate::wire::Wire;

/// An answer to one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// What a model says.
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
    /// An error in a shape that both vendors' clients read.
    #[must_use]
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"type": "error", "error": {"type": kind, "message": message}}),
        )
    }

    /// An error as the vendor of this wire writes it.
    #[must_use]
    pub fn refusal(wire: Wire, status: u16, message: &str) -> Self {
        let kind = wire.error_kind(status);
        match wire {
            Wire::Messages => Self::error(status, kind, message),
            Wire::Responses | Wire::Chat => Self::json(
                status,
                &json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
            ),
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Status {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
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
    pub(crate) parts: Vec<Said>,
    pub(crate) stop: Stop,
    pub(crate) fault: Option<(usize, Fault)>,
    pub(crate) pause: Duration,
    pub(crate) usage: Option<Tokens>,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read, and not in a cache.
    pub input: u64,
    /// Read from a cache.
    pub cached: u64,
    /// Written to a cache.
    pub cache_write: u64,
    /// Written.
    pub output: u64,
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Said {
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
pub(crate) enum Stop {
    #[default]
    End,
    MaxTokens,
    Refusal,
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Cut,
    Malformed,
    Error { kind: String, message: String },
}

impl Answer {
    /// One that says nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a step of a script does, each message beginning with `name` if there is one.
    pub(crate) fn of(step: &Step, name: Option<&str>) -> Self {
        let mut answer = Self::new();
        for act in &step.acts {
            answer = answer.and(said(act, name));
        }
        answer
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

    /// Waits before what comes next.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.and(Said::Pause(time))
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

    /// Says that this is what it cost.
    #[must_use]
    pub const fn usage(mut self, usage: Tokens) -> Self {
        self.usage = Some(usage);
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

    pub(crate) fn and(mut self, part: Said) -> Self {
        self.parts.push(part);
        self
    }

    /// Puts a thought before everything else.
    pub(crate) fn first_thinking(mut self, text: &str) -> Self {
        self.parts.insert(0, Said::Thinking(text.to_owned()));
        self
    }

    pub(crate) fn has_tools(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Said::Tool { .. }))
    }

    pub(crate) fn thinks(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Said::Thinking(_)))
    }

    /// Bytes that a model would have written.
    pub(crate) fn length(&self) -> usize {
        let lengths = self.parts.iter().map(|part| match part {
            Said::Thinking(text) => text.len(),
            Said::Text(pieces, _) => pieces.iter().map(String::len).sum(),
            Said::Tool { name, input } => name.len() + input.len(),
            Said::Pause(_) => 0,
        });
        lengths.sum()
    }
}

fn said(act: &Act, name: Option<&str>) -> Said {
    let name = name.map(|name| format!("{name}:"));
    match act {
        Act::Say(text) => {
            let text = name.map_or_else(|| text.clone(), |name| format!("{name} {text}"));
            Said::Text(text.split_inclusive(' ').map(str::to_owned).collect(), Duration::ZERO)
        }
        Act::Tokens { count, each } => {
            let tokens = (1..=*count).map(|n| format!(" {n}"));
            Said::Text(name.into_iter().chain(tokens).collect(), *each)
        }
        Act::Think(text) => Said::Thinking(text.clone()),
        Act::Sleep(time) => Said::Pause(*time),
        Act::Tool { name, input } => Said::Tool {
            name: name.clone(),
            input: input.text().to_owned(),
        },
    }
}
