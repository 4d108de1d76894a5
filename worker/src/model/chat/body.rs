//! The request: the neutral conversation as chat messages. Results are texts here; pictures among them follow in a message of
//! the user's. A message that is nothing but text is sent as a plain string, which every server understands.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{ModelError, ModelRequest, ToolSpec};
use perennial_schema::event::Raw;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::content::Piece;
use crate::model::error;
use crate::model::frame::Without;
use crate::model::ids::{CallIds, tool_name};
use crate::model::openai::body::level;

/// Longest id of a call that OpenAI takes on this wire.
const ID_LENGTH: usize = 40;
/// Models that know the limit of an answer by its newer name.
const NEWER: [&str; 4] = ["gpt-5", "o1", "o3", "o4"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<String>,
    #[serde(flatten)]
    limit: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    messages: Vec<Value>,
}

pub(super) fn encode(
    model: &str,
    request: &ModelRequest,
    without: Without,
    cache_key: Option<String>,
) -> Result<Vec<u8>, ModelError> {
    let bare = model.rsplit('/').next().unwrap_or(model);
    let is_newer = NEWER.iter().any(|name| bare.starts_with(name));
    let limit = if is_newer == without.limit_name {
        "max_tokens"
    } else {
        "max_completion_tokens"
    };
    let body = Body {
        model,
        stream: true,
        stream_options: (!without.extras).then(|| json!({"include_usage": true})),
        prompt_cache_key: cache_key.filter(|_| !without.extras),
        reasoning_effort: level(&request.model).filter(|_| without.reasoning == 0),
        limit: Map::from_iter([(limit.to_owned(), request.max_tokens.into())]),
        tools: request.tools.iter().map(tool).collect(),
        messages: messages(request, without),
    };
    serde_json::to_vec(&body).map_err(|error| error::unusable(format!("this conversation cannot be encoded: {error}")))
}

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
    })
}

fn messages(request: &ModelRequest, without: Without) -> Vec<Value> {
    let ids = CallIds::within(&request.messages, ID_LENGTH);
    let mut wire = Vec::with_capacity(request.messages.len() + 1);
    if let Some(system) = request.system.as_ref().filter(|system| !system.trim().is_empty()) {
        wire.push(json!({"role": "system", "content": system}));
    }
    // What the user says: joined while nobody else speaks.
    let mut said: Vec<Value> = Vec::new();
    for message in &request.messages {
        match message.role {
            Role::User => user(message, &ids, without, &mut wire, &mut said),
            Role::Assistant => {
                if let Some(step) = assistant(message, &ids) {
                    wire.extend(user_message(&mut said));
                    wire.push(step);
                }
            }
        }
    }
    wire.extend(user_message(&mut said));
    wire
}

fn user(message: &Message, ids: &CallIds, without: Without, wire: &mut Vec<Value>, said: &mut Vec<Value>) {
    for part in &message.parts {
        match part {
            MessagePart::Text(text) if text.trim().is_empty() => {}
            MessagePart::Text(text) => said.push(text_part(text)),
            MessagePart::Content(block) => said.extend(content(block, without)),
            MessagePart::ToolResult {
                id, content, is_error, ..
            } => {
                let id = ids.get(*id);
                let (text, pictures) = result(content, *is_error, without);
                if !pictures.is_empty() {
                    said.push(text_part(&format!("[Shown by tool call {id}:]")));
                    said.extend(pictures);
                }
                wire.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
            }
            MessagePart::Native(_) | MessagePart::ToolUse { .. } => {}
        }
    }
}

/// One message of what was said, if anything was.
fn user_message(said: &mut Vec<Value>) -> Option<Value> {
    if said.is_empty() {
        return None;
    }
    let parts = std::mem::take(said);
    if parts.iter().all(|part| part["type"] == "text") {
        let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        return Some(json!({"role": "user", "content": texts.join("\n\n")}));
    }
    Some(json!({"role": "user", "content": parts}))
}

/// A step; none if all it had were thoughts.
fn assistant(message: &Message, ids: &CallIds) -> Option<Value> {
    let mut texts: Vec<&str> = Vec::new();
    let mut calls: Vec<Value> = Vec::new();
    for part in &message.parts {
        match part {
            MessagePart::Text(text) if !text.trim().is_empty() => texts.push(text),
            MessagePart::ToolUse { id, name, input, .. } => {
                let function = json!({"name": tool_name(name), "arguments": input.text()});
                calls.push(json!({"id": ids.get(*id), "type": "function", "function": function}));
            }
            _ => {}
        }
    }
    let text = (!texts.is_empty()).then(|| texts.join("\n\n"));
    if calls.is_empty() {
        return text.map(|text| json!({"role": "assistant", "content": text}));
    }
    Some(json!({"role": "assistant", "content": text, "tool_calls": calls}))
}

fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn content(block: &Raw, without: Without) -> Option<Value> {
    Some(match Piece::of(block)? {
        Piece::Picture(place) if !without.pictures => {
            json!({"type": "image_url", "image_url": {"url": place.url()}})
        }
        Piece::Document(place @ crate::model::content::Place::Inline(..), title) if !without.documents => {
            let name = title.unwrap_or_else(|| "document.pdf".into());
            json!({"type": "file", "file": {"filename": name, "file_data": place.url()}})
        }
        piece => text_part(&piece.into_text()),
    })
}

/// The text of a result, and what of it is no text.
fn result(content_array: &Raw, is_error: bool, without: Without) -> (String, Vec<Value>) {
    let blocks: Vec<Raw> = content_array.parse().unwrap_or_default();
    let parts = blocks.iter().filter_map(|block| content(block, without));
    let (texts, others): (Vec<Value>, Vec<Value>) = parts.partition(|part| part["type"] == "text");
    let mut lines: Vec<&str> = texts.iter().filter_map(|text| text["text"].as_str()).collect();
    if is_error {
        lines.insert(0, "This tool call failed:");
    }
    if !others.is_empty() {
        lines.push("[See the next message for what this call shows.]");
    }
    if lines.is_empty() {
        lines.push("(no output)");
    }
    (lines.join("\n"), others)
}

#[cfg(test)]
mod tests {
    use perennial_schema::content::text_content;
    use perennial_schema::event::Native;

    use super::*;
    use crate::model::testing::{event_id, request, said};

    fn encoded(request: &ModelRequest, without: Without) -> Value {
        serde_json::from_slice(&encode("some-model", request, without, None).unwrap()).unwrap()
    }

    fn call(n: u128, native: Option<&str>) -> MessagePart {
        MessagePart::ToolUse {
            id: event_id(n),
            native_id: native.map(str::to_owned),
            name: "mcp.read".into(),
            input: serde_json::from_str(r#"{"a": 1.50}"#).unwrap(),
        }
    }

    fn result_of(n: u128, content: Raw, is_error: bool) -> MessagePart {
        MessagePart::ToolResult {
            id: event_id(n),
            native_id: None,
            content,
            is_error,
        }
    }

    fn message(role: Role, parts: Vec<MessagePart>) -> Message {
        Message { role, parts }
    }

    #[test]
    fn a_conversation_becomes_messages() {
        let image = json!([{"type": "text", "text": "a dot"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]);
        let thought = MessagePart::Native(Native {
            provider: "anthropic".into(),
            block: Raw::null(),
        });
        let long = "toolu_0123456789012345678901234567890123456789";
        let mut ask = request(
            "some-model",
            vec![
                said("hi"),
                message(
                    Role::Assistant,
                    vec![
                        thought.clone(),
                        MessagePart::Text("ok".into()),
                        call(1, Some("call_1")),
                        call(2, Some(long)),
                    ],
                ),
                message(
                    Role::User,
                    vec![
                        result_of(1, text_content("no"), true),
                        result_of(2, Raw::of(&image), false),
                        MessagePart::Text("go on".into()),
                    ],
                ),
                message(Role::Assistant, vec![thought]),
                said("still there?"),
            ],
        );
        ask.system = Some("be good".into());
        let value = encoded(&ask, Without::default());
        let ours = event_id(2).to_string();
        let arguments = "{\"a\": 1.50}";
        let function = json!({"name": "mcp_read", "arguments": arguments});
        let expected = json!([
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "ok", "tool_calls": [
                {"id": "call_1", "type": "function", "function": function},
                {"id": ours, "type": "function", "function": function},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "This tool call failed:\nno"},
            {"role": "tool", "tool_call_id": ours, "content": "a dot\n[See the next message for what this call shows.]"},
            {"role": "user", "content": [
                {"type": "text", "text": format!("[Shown by tool call {ours}:]")},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                {"type": "text", "text": "go on"},
                {"type": "text", "text": "still there?"},
            ]},
        ]);
        assert_eq!(value["messages"], expected);
        assert_eq!(
            (&value["stream_options"], &value["max_tokens"]),
            (&json!({"include_usage": true}), &json!(1000))
        );
        let without = Without {
            pictures: true,
            extras: true,
            limit_name: true,
            ..Without::default()
        };
        let value = encoded(&ask, without);
        assert!(value.get("stream_options").is_none() && value.get("max_tokens").is_none());
        assert_eq!(value["max_completion_tokens"], 1000);
        let last = value["messages"][5]["content"].as_str().unwrap();
        assert_eq!(last, "go on\n\nstill there?");
        let shown = value["messages"][4]["content"].as_str().unwrap();
        assert!(shown.contains("not shown to this model"), "{shown}");
    }

    #[test]
    fn calls_alone_have_no_content_and_effort_has_this_vendors_name() {
        let mut ask = request(
            "m",
            vec![
                said("hi"),
                message(Role::Assistant, vec![call(1, None)]),
                message(Role::User, vec![result_of(1, Raw::of::<[(); 0]>(&[]), false)]),
            ],
        );
        ask.model.effort = Some(Raw::of("max"));
        let value = encoded(&ask, Without::default());
        assert_eq!(value["messages"][1]["content"], Value::Null);
        assert_eq!(value["messages"][2]["content"], "(no output)");
        assert_eq!(value["reasoning_effort"], "xhigh");
        let value: Value =
            serde_json::from_slice(&encode("openai/gpt-5-mini", &ask, Without::default(), None).unwrap()).unwrap();
        assert_eq!(value["max_completion_tokens"], 1000);
    }
}
