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
use crate::model::ids::CallIds;
use crate::model::{effort, error};

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

pub(super) fn encode(model: &str, request: &ModelRequest) -> Result<Vec<u8>, ModelError> {
    let mut messages = messages(&request.messages);
    cache_last(messages.last_mut().map(|message| &mut message.content));
    let mut tools: Vec<Raw> = request.tools.iter().map(tool).collect();
    cache_last(Some(&mut tools));
    let system = request.system.as_ref().filter(|system| !system.trim().is_empty());
    let effort = effort(&request.model).filter(|effort| EFFORTS.contains(&effort.as_str()));
    let body = Body {
        model,
        max_tokens: request.max_tokens,
        stream: true,
        system: system.map(|system| [cached(&Raw::of(&Block::text(system)))]),
        tools,
        messages,
        thinking: effort.as_ref().map(|_| json!({"type": "adaptive"})),
        output_config: effort.map(|effort| json!({"effort": effort})),
    };
    serde_json::to_vec(&body).map_err(|error| error::unusable(format!("this conversation cannot be encoded: {error}")))
}

fn tool(tool: &ToolSpec) -> Raw {
    let mut wire = json!({"name": tool.name});
    if !tool.description.trim().is_empty() {
        wire["description"] = json!(tool.description);
    }
    wire["input_schema"] = tool.input_schema.clone();
    Raw::of(&wire)
}

/// Leaving out other providers' blocks may leave a message empty, and so two of one role side by side: they become one.
pub(crate) fn messages(messages: &[Message]) -> Vec<WireMessage> {
    let ids = CallIds::of(messages);
    let mut wire: Vec<WireMessage> = Vec::with_capacity(messages.len());
    for message in messages {
        let mut content: Vec<Raw> = message.parts.iter().filter_map(|part| block(part, &ids)).collect();
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

fn block(part: &MessagePart, ids: &CallIds) -> Option<Raw> {
    match part {
        MessagePart::Text(text) => (!text.trim().is_empty()).then(|| Raw::of(&Block::text(text))),
        MessagePart::Content(block) => ours(block),
        MessagePart::Native(native) => (native.provider == PROVIDER).then(|| native.block.clone()),
        MessagePart::ToolUse { id, name, input, .. } => Some(Raw::of(&ToolUse {
            kind: "tool_use",
            id: ids.get(*id),
            name,
            input,
        })),
        MessagePart::ToolResult {
            id, content, is_error, ..
        } => {
            let blocks: Vec<Raw> = content.parse().unwrap_or_default();
            let mut content: Vec<Raw> = blocks.iter().filter_map(ours).collect();
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

/// A client's or a tool's block, as we may send it. Blank texts are refused, and there are only four cache marks, all ours.
fn ours(block: &Raw) -> Option<Raw> {
    if block.text().contains("cache_control") {
        let mut value: Value = block.parse().ok()?;
        value.as_object_mut()?.shift_remove("cache_control");
        return ours_value(&value).then(|| Raw::of(&value));
    }
    let value: Value = block.parse().ok()?;
    ours_value(&value).then(|| block.clone())
}

fn ours_value(value: &Value) -> bool {
    value["type"] != "text" || value["text"].as_str().is_some_and(|text| !text.trim().is_empty())
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
        let text = String::from_utf8(encode("claude-x", request).unwrap()).unwrap();
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
            text.contains(thinking) && text.contains(image) && text.contains(r#""input":{"a": 1.50}"#),
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
        assert_eq!(text.matches("cache_control").count(), 3);
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
}
