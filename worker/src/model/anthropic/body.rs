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
mod tests {
    use perennial_engine::ports::Lane;
    use perennial_schema::content::text_content;
    use perennial_schema::event::{Native, Permission};
    use perennial_schema::tool::Effect;
    use serde_json::value::RawValue;

    use super::*;
    use crate::model::testing::{event_id, request, said};

    fn raw(text: &str) -> Raw {
        RawValue::from_string(text.into()).unwrap().into()
    }

    fn encoded(request: &ModelRequest) -> (String, Value) {
        let text = String::from_utf8(encode("claude-x", request, Without::default()).unwrap().0).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    fn native(provider: &str, block: &str) -> MessagePart {
        MessagePart::Native(Native {
            provider: provider.into(),
            block: raw(block),
        })
    }

    #[test]
    fn a_conversation_is_sent_verbatim_with_cache_marks_at_its_ends() {
        let thinking = r#"{"type":"thinking", "thinking":"é\u00e9","signature":"s=="}"#;
        let image = r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"},"new":1.50}"#;
        let call = |n: u128, native: Option<&str>| MessagePart::ToolUse {
            id: event_id(n),
            native_id: native.map(str::to_owned),
            name: "bash".into(),
            input: raw(r#"{"a": 1.50}"#),
        };
        let result = |n: u128, content: Raw, is_error| MessagePart::ToolResult {
            id: event_id(n),
            native_id: None,
            content,
            is_error,
        };
        let assistant = vec![
            native("anthropic", thinking),
            native("openai", "{}"),
            MessagePart::Text("ok".into()),
            call(1, Some("toolu_1")),
            call(2, None),
        ];
        let mut ask = request(
            "claude-x",
            vec![
                Message {
                    role: Role::User,
                    parts: vec![MessagePart::Content(raw(image))],
                },
                Message {
                    role: Role::Assistant,
                    parts: assistant,
                },
                Message {
                    role: Role::User,
                    parts: vec![result(1, text_content("out"), false), result(2, raw("[]"), true)],
                },
            ],
        );
        ask.system = Some("be good".into());
        ask.tools = vec![ToolSpec {
            name: "bash".into(),
            description: "runs".into(),
            input_schema: json!({"type": "object"}),
            lane: Lane::Executor,
            permission: Permission::Allow,
            effect: Effect::Once,
        }];
        let (text, value) = encoded(&ask);
        assert!(
            text.contains(thinking)
                && text.contains(image.trim_end_matches('}'))
                && text.contains(r#""input":{"a": 1.50}"#),
            "{text}"
        );
        let mark = json!({"type": "ephemeral"});
        assert_eq!(
            value["system"],
            json!([{"type": "text", "text": "be good", "cache_control": mark}])
        );
        let tool =
            json!({"name": "bash", "description": "runs", "input_schema": {"type": "object"}, "cache_control": mark});
        assert_eq!(value["tools"], json!([tool]));
        assert_eq!((&value["max_tokens"], &value["stream"]), (&json!(1000), &json!(true)));
        let ours = event_id(2).to_string();
        let uses = [
            &value["messages"][1]["content"][2]["id"],
            &value["messages"][1]["content"][3]["id"],
        ];
        assert_eq!(uses, [&json!("toolu_1"), &json!(ours)]);
        let last = &value["messages"][2]["content"];
        assert_eq!(
            last[0],
            json!({"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "out"}]})
        );
        let empty = json!([{"type": "text", "text": "(no output)"}]);
        assert_eq!(
            last[1],
            json!({"type": "tool_result", "tool_use_id": ours, "content": empty, "is_error": true, "cache_control": mark})
        );
        assert_eq!(
            value["messages"][0]["content"][0]["cache_control"],
            json!({"type": "ephemeral"})
        );
        assert_eq!(text.matches("cache_control").count(), 4);
    }

    #[test]
    fn what_would_be_refused_is_replaced() {
        let blank = Message {
            role: Role::User,
            parts: vec![MessagePart::Content(raw(r#"{"type":"text","text":" \n"}"#))],
        };
        let other = Message {
            role: Role::Assistant,
            parts: vec![native("openai", "{}")],
        };
        let marked = raw(r#"{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}"#);
        let marked = Message {
            role: Role::User,
            parts: vec![MessagePart::Content(marked)],
        };
        let (_, value) = encoded(&request("claude-x", vec![blank, other, marked]));
        let content = json!([
            {"type": "text", "text": "(empty message)"},
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
        ]);
        assert_eq!(value["messages"], json!([{"role": "user", "content": content}]));
        assert!(value.get("system").is_none() && value.get("tools").is_none());
    }

    #[test]
    fn effort_is_sent_only_when_asked_for() {
        let mut ask = request("claude-x", vec![said("hi")]);
        assert!(encoded(&ask).1.get("thinking").is_none());
        for effort in [r#""high""#, r#"{"type":"high"}"#] {
            ask.model.effort = Some(raw(effort));
            let (_, value) = encoded(&ask);
            assert_eq!(
                (&value["thinking"]["type"], &value["output_config"]["effort"]),
                (&json!("adaptive"), &json!("high"))
            );
        }
        ask.model.effort = Some(raw(r#""unheard-of""#));
        assert!(encoded(&ask).1.get("thinking").is_none());
    }

    /// Each request repeats the one before, word for word but for the marks, and has a mark where that one had its last.
    #[test]
    fn each_request_extends_the_cached_prefix_of_the_one_before() {
        let unmarked = |value: &Value| {
            let mut value = value.clone();
            for message in value["messages"].as_array_mut().unwrap() {
                for block in message["content"].as_array_mut().unwrap() {
                    block.as_object_mut().unwrap().remove("cache_control");
                }
            }
            value["messages"].as_array().unwrap().clone()
        };
        let marked = |value: &Value| {
            let messages = value["messages"].as_array().unwrap().iter().enumerate();
            let marked = messages.flat_map(|(at, message)| {
                let blocks = message["content"].as_array().unwrap().iter().enumerate();
                blocks
                    .filter(|(_, block)| block.get("cache_control").is_some())
                    .map(move |(n, _)| (at, n))
            });
            marked.collect::<Vec<_>>()
        };
        let mut ask = request("claude-x", vec![said("hi")]);
        ask.system = Some("be good".into());
        let mut before = encoded(&ask).1;
        assert_eq!(marked(&before), [(0, 0)]);
        for n in 1..8 {
            let calls = (0..n).map(|k| MessagePart::ToolUse {
                id: event_id(n * 10 + k),
                native_id: None,
                name: "bash".into(),
                input: raw("{}"),
            });
            let results = (0..n).map(|k| MessagePart::ToolResult {
                id: event_id(n * 10 + k),
                native_id: None,
                content: text_content("out"),
                is_error: false,
            });
            ask.messages.push(Message {
                role: Role::Assistant,
                parts: calls.collect(),
            });
            ask.messages.push(Message {
                role: Role::User,
                parts: results.collect(),
            });
            if n % 3 == 0 {
                let steering = said("and another thing").parts.remove(0);
                ask.messages.last_mut().unwrap().parts.push(steering);
            }
            let (text, now) = encoded(&ask);
            assert!(unmarked(&now).starts_with(&unmarked(&before)));
            let (old, new) = (marked(&before), marked(&now));
            assert_eq!(new.len(), 2);
            assert_eq!(old.last(), new.first(), "the last mark of the request before stays");
            assert_eq!(new[1].0, now["messages"].as_array().unwrap().len() - 1);
            assert!(text.matches("cache_control").count() <= 4);
            before = now;
        }
    }

    #[test]
    fn what_no_model_takes_becomes_a_note() {
        let blocks = [
            r#"{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":"AA"}}"#,
            r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#,
            r#"{"type":"odd","x":1}"#,
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":" "}}"#,
        ];
        for block in blocks {
            let sent = ours(&raw(block), Without::default()).unwrap();
            assert!(sent.text().contains(r#""type":"text""#), "{}", sent.text());
        }
        let pdf = r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"},"citations":{"enabled":true}}"#;
        assert_eq!(ours(&raw(pdf), Without::default()).unwrap().text(), pdf);
        let without = Without {
            documents: true,
            ..Without::default()
        };
        assert!(ours(&raw(pdf), without).unwrap().text().contains("not shown"));
    }
}
