//! The vendors' APIs: where a conversation stands in a request, and an answer in their words. One file per wire.

mod chat;
mod frames;
mod messages;
mod responses;
mod tools;

use std::collections::HashMap;

use serde_json::Value;

pub(crate) use frames::Event;
pub use frames::{Frame, Response};

use crate::cue::Cue;
use crate::limits;
use crate::reply::{Answer, Tokens};
use tools::Offered;

/// Whose API a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions.
    Chat,
}

impl Wire {
    /// Below the origin, e.g. `/v1/messages`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
            Self::Chat => "/v1/chat/completions",
        }
    }

    /// What its vendor calls an error with this status.
    #[must_use]
    pub const fn error_kind(self, status: u16) -> &'static str {
        match (self, status) {
            (Self::Messages, 401) => "authentication_error",
            (Self::Messages, 402) => "billing_error",
            (_, 403) => "permission_error",
            (Self::Messages, 404) => "not_found_error",
            (Self::Messages, 413) => "request_too_large",
            (_, 429) => "rate_limit_error",
            (Self::Messages, 529) => "overloaded_error",
            (Self::Messages, 500..) => "api_error",
            (Self::Responses | Self::Chat, 401) => "authentication_error",
            (Self::Responses | Self::Chat, 500..) => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub(crate) fn cue(self, body: &Value) -> Cue {
        match self {
            Self::Messages => messages::cue(body),
            Self::Responses => responses::cue(body),
            Self::Chat => chat::cue(body),
        }
    }

    /// Whether the client asked to see thoughts.
    pub(crate) fn wants_thoughts(self, body: &Value) -> bool {
        match self {
            Self::Messages => matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive")),
            Self::Responses => body["reasoning"].is_object() || body["include"].is_array(),
            Self::Chat => false,
        }
    }

    /// The answer in this wire's words; what must come back unchanged is kept in `issued`.
    pub(crate) fn respond(self, answer: &Answer, ask: &Ask<'_>, issued: &mut Issued) -> Response {
        let told = match self {
            Self::Messages => messages::told(answer, ask, issued),
            Self::Responses => responses::told(answer, ask, issued),
            Self::Chat => chat::told(answer, ask, issued),
        };
        frames::respond(self, answer, told, ask.body["stream"] == true)
    }
}

/// A request and what its answer needs.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) body: &'a Value,
    /// Ends every id of the answer; never used twice.
    pub(crate) id: String,
    /// Makes the signatures of the answer its own.
    pub(crate) nonce: u64,
    pub(crate) usage: Tokens,
}

impl Ask<'_> {
    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The name under which the request offers a tool: scripts need not know what a harness puts before it.
    fn tool(&self, name: &str) -> Offered {
        tools::resolve(name, &tools::offered(&self.body["tools"]))
    }
}

/// An answer as a stream and as one body.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) whole: Value,
}

/// What a server gave out and expects back unchanged.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    /// Thinking blocks, reasoning items that are to be accepted though they do not bear our signature.
    pub thoughts: Vec<Value>,
    /// By call: the thoughts that led to it and must stand before it.
    pub calls: HashMap<String, Vec<Value>>,
}

impl Issued {
    pub(crate) fn call(&mut self, id: String, thoughts: &[Value]) {
        if thoughts.is_empty() {
            return;
        }
        if self.calls.len() >= limits::ISSUED {
            self.calls.clear();
        }
        self.calls.insert(id, thoughts.to_vec());
    }
}

/// The elements of an array; none of anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A string; empty of anything else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Arguments of a call in two pieces, as a stream brings them.
fn halves(input: &str) -> [&str; 2] {
    let middle = input.floor_char_boundary(input.len() / 2);
    [&input[..middle], &input[middle..]]
}
