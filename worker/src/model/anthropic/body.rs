//! The request: the neutral conversation in Anthropic's words. What clients sent and what the model thought goes through
//! verbatim; what Anthropic would refuse (blank texts, empty error results) is replaced, because one such block would make
//! every later request of the session fail.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{ModelError, ModelRequest, ToolSpec};
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use serde::Serialize;
use serde_json::{Value, json};

use super::PROVIDER;
use super::thinking::Thinking;
use crate::model::content::Piece;
use crate::model::error;
use crate::model::frame::Without;
use crate::model::ids::{CallIds, tool_name};

/// Marks the end of a prefix worth caching.
const CACHE_MEMBER: &str = r#""cache_control":{"type":"ephemeral"}"#;
/// Stands for a result that says nothing, which is refused.
pub(crate) const NO_OUTPUT: &str = "(no output)";
/// Levels of effort that Anthropic knows.
pub(crate) const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[Raw; 1]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Raw>,
    messages: Vec<WireMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

/// A message in Anthropic's words.
#[derive(Serialize)]
pub(crate) struct WireMessage {
    pub(crate) role: &'static str,
    pub(crate) content: Vec<Raw>,
}

/// The request, and the beta it needs.
pub(super) fn encode(
    model: &str,
    request: &ModelRequest,
    without: Without,
) -> Result<(Vec<u8>, Option<&'static str>), ModelError> {
    let mut messages = encode_messages(&request.messages, without);
    mark(&mut messages);
    let Thinking {
        thinking,
        output_config,
        budget,
        beta,
    } = Thinking::of(model, request, without, &messages);
    let mut tools: Vec<Raw> = request.tools.iter().map(tool).collect();
    cache_last(Some(&mut tools));
    let system = request.system.as_ref().filter(|system| !system.trim().is_empty());
    let body = Body {
        model,
        max_tokens: request.max_tokens.saturating_add(budget),
        stream: true,
        system: system.map(|system| [cached(&Raw::of(&Block::text(system)))]),
        tools,
        messages,
        thinking,
        output_config,
    };
    let body = serde_json::to_vec(&body)
        .map_err(|error| error::unusable(format!("this conversation cannot be encoded: {error}")))?;
    Ok((body, beta))
}

/// Marks where this request ends and where the one before it ended: the cache is found again however much came between.
/// With those of system prompt and tools there are four marks, which is all there may be.
fn mark(messages: &mut [WireMessage]) {
    let users = messages.iter_mut().rev().filter(|message| message.role == "user");
    for message in users.take(2) {
        cache_last(Some(&mut message.content));
    }
}

fn tool(tool: &ToolSpec) -> Raw {
    let mut wire = json!({"name": tool.name});
    if !tool.description.trim().is_empty() {
        wire["description"] = json!(tool.description);
    }
    wire["input_schema"] = tool.input_schema.clone();
    Raw::of(&wire)
}

/// The conversation in Anthropic's words.
pub(crate) fn messages(messages: &[Message]) -> Vec<WireMessage> {
    encode_messages(messages, Without::default())
}

/// Leaving out other providers' blocks may leave a message empty, and so two of one role side by side: they become one.
fn encode_messages(messages: &[Message], without: Without) -> Vec<WireMessage> {
    let ids = CallIds::of(messages);
    let mut wire: Vec<WireMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        let mut content: Vec<Raw> = message
            .parts
            .iter()
            .filter_map(|part| block(part, &ids, without))
            .collect();
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        if content.is_empty() {
            if message.role == Role::Assistant {
                continue;
            }
            content.push(Raw::of(&Block::text("(empty message)")));
        }
        match wire.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => wire.push(WireMessage { role, content }),
        }
    }
    wire
}

fn block(part: &MessagePart, ids: &CallIds, without: Without) -> Option<Raw> {
    match part {
        MessagePart::Text(text) => (!text.trim().is_empty()).then(|| Raw::of(&Block::text(text))),
        MessagePart::Content(block) => ours(block, without),
        MessagePart::Native(native) => (native.provider == PROVIDER).then(|| native.block.clone()),
        MessagePart::ToolUse { id, name, input, .. } => Some(Raw::of(&ToolUse {
            kind: "tool_use",
            id: ids.get(*id),
            name: &tool_name(name),
            input,
        })),
        MessagePart::ToolResult {
            id, content, is_error, ..
        } => {
            let blocks: Vec<Raw> = content.parse().unwrap_or_default();
            let mut content: Vec<Raw> = blocks.iter().filter_map(|block| ours(block, without)).collect();
            if content.is_empty() {
                content.push(Raw::of(&Block::text(NO_OUTPUT)));
            }
            let is_error = *is_error;
            Some(Raw::of(&ToolResult {
                kind: "tool_result",
                tool_use_id: ids.get(*id),
                content,
                is_error,
            }))
        }
    }
}

#[derive(Serialize)]
struct ToolUse<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    name: &'a str,
    input: &'a Raw,
}

#[derive(Serialize)]
struct ToolResult {
    #[serde(rename = "type")]
    kind: &'static str,
    tool_use_id: String,
    content: Vec<Raw>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

/// A client's or a tool's block, as we may send it: verbatim, if it is one that is taken. Blank texts are refused, and there
/// are only four cache marks, all ours.
fn ours(block: &Raw, without: Without) -> Option<Raw> {
    let mut value: Value = block.parse().ok()?;
    let note = |text: String| Some(Raw::of(&Block::text(text)));
    match Piece::of_value(&value)? {
        Piece::Note(text) => return note(text),
        Piece::Titled(_, text) if text.trim().is_empty() => return note("[an empty document]".into()),
        piece @ Piece::Picture(_) if without.pictures => return note(piece.into_text()),
        piece @ (Piece::Document(..) | Piece::Titled(..)) if without.documents => return note(piece.into_text()),
        _ => {}
    }
    if block.text().contains("cache_control") {
        value.as_object_mut()?.shift_remove("cache_control");
        return Some(Raw::of(&value));
    }
    Some(block.clone())
}

fn cache_last(blocks: Option<&mut Vec<Raw>>) {
    if let Some(last) = blocks.and_then(|blocks| blocks.last_mut()) {
        *last = cached(last);
    }
}

/// The same object with a cache mark. Written into the text: the rest of it stays as it is.
fn cached(block: &Raw) -> Raw {
    let marked = block.text().trim_end().strip_suffix('}').map(|open| {
        let comma = if open.trim_end().ends_with('{') { "" } else { "," };
        format!("{open}{comma}{CACHE_MEMBER}}}")
    });
    let marked = marked.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    marked.map_or_else(|| block.clone(), Raw::from)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
