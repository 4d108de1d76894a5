//! The request: the neutral conversation as Responses input items. Reasoning goes back verbatim; blocks this API has no
//! word for become text that says what they were.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{ModelError, ModelRequest, ToolSpec};
use perennial_schema::agent::ModelConfig;
use perennial_schema::event::Raw;
use serde::Serialize;
use serde_json::{Value, json};

use super::PROVIDER;
use crate::model::content::{Piece, Place};
use crate::model::frame::Without;
use crate::model::ids::{CallIds, tool_name};
use crate::model::{effort, error};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    store: bool,
    max_output_tokens: u32,
    prompt_cache_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Value>,
    input: Vec<Raw>,
}

pub(super) fn encode(model: &str, request: &ModelRequest, without: Without) -> Result<Vec<u8>, ModelError> {
    let reasoning = without.reasoning == 0;
    let body = Body {
        model,
        stream: true,
        store: false,
        max_output_tokens: request.max_tokens,
        prompt_cache_key: request.session.to_string(),
        instructions: request.system.as_deref().filter(|system| !system.trim().is_empty()),
        tools: request.tools.iter().map(tool).collect(),
        include: reasoning.then_some(["reasoning.encrypted_content"]),
        reasoning: level(&request.model)
            .filter(|_| reasoning)
            .map(|effort| json!({"effort": effort})),
        input: input(&request.messages, without),
    };
    serde_json::to_vec(&body).map_err(|error| error::unusable(format!("this conversation cannot be encoded: {error}")))
}

/// The level of reasoning an agent asks for, in this API's words.
pub(crate) fn level(model: &ModelConfig) -> Option<String> {
    let effort = effort(model)?;
    match effort.as_str() {
        "none" | "minimal" | "low" | "medium" | "high" | "xhigh" => Some(effort),
        // The other vendor's word for the most there is.
        "max" => Some("xhigh".into()),
        _ => None,
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": false,
    })
}

/// The conversation as input items.
pub(crate) fn items(messages: &[Message]) -> Vec<Raw> {
    input(messages, Without::default())
}

fn input(messages: &[Message], without: Without) -> Vec<Raw> {
    let ids = CallIds::of(messages);
    let mut items = Items {
        without,
        list: Vec::new(),
        content: Vec::new(),
    };
    for message in messages {
        for part in &message.parts {
            items.add(message.role, part, &ids);
        }
        items.close(message.role);
    }
    items.list
}

/// Items, and the content of the message being made: texts of one speaker in a row are one message.
struct Items {
    without: Without,
    list: Vec<Raw>,
    content: Vec<Value>,
}

impl Items {
    fn add(&mut self, role: Role, part: &MessagePart, ids: &CallIds) {
        match part {
            MessagePart::Text(text) if text.trim().is_empty() => {}
            MessagePart::Text(text) if role == Role::Assistant => {
                self.content.push(json!({"type": "output_text", "text": text}));
            }
            MessagePart::Text(text) => self.content.push(input_text(text)),
            MessagePart::Content(block) => self.content.extend(content(block, self.without)),
            MessagePart::Native(native) => {
                if native.provider == PROVIDER && is_replayable(&native.block) {
                    self.item(role, native.block.clone());
                }
            }
            MessagePart::ToolUse { id, name, input, .. } => {
                let call_id = ids.get(*id);
                let call = json!({"type": "function_call", "call_id": call_id, "name": tool_name(name), "arguments": input.text()});
                self.item(role, Raw::of(&call));
            }
            MessagePart::ToolResult {
                id, content, is_error, ..
            } => {
                let output = output(content, *is_error, self.without);
                let call_id = ids.get(*id);
                self.item(
                    role,
                    Raw::of(&json!({"type": "function_call_output", "call_id": call_id, "output": output})),
                );
            }
        }
    }

    fn item(&mut self, role: Role, item: Raw) {
        self.close(role);
        self.list.push(item);
    }

    fn close(&mut self, role: Role) {
        if self.content.is_empty() {
            return;
        }
        let role = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = std::mem::take(&mut self.content);
        self.list
            .push(Raw::of(&json!({"type": "message", "role": role, "content": content})));
    }
}

/// As nothing is stored at the provider, reasoning without its encrypted content is a reference to nothing.
fn is_replayable(item: &Raw) -> bool {
    let item: Value = item.parse().unwrap_or_default();
    item["encrypted_content"]
        .as_str()
        .is_some_and(|content| !content.is_empty())
}

fn input_text(text: &str) -> Value {
    json!({"type": "input_text", "text": text})
}

/// A neutral block; none for blank text.
fn content(block: &Raw, without: Without) -> Option<Value> {
    Some(match Piece::of(block)? {
        Piece::Picture(place) if !without.pictures => {
            json!({"type": "input_image", "image_url": place.url(), "detail": "auto"})
        }
        Piece::Document(Place::Url(url), _) if !without.documents => json!({"type": "input_file", "file_url": url}),
        Piece::Document(place, title) if !without.documents => {
            let name = title.unwrap_or_else(|| "document.pdf".into());
            json!({"type": "input_file", "filename": name, "file_data": place.url()})
        }
        piece => input_text(&piece.into_text()),
    })
}

/// A result: plain text where it is only that (not every compatible server takes more). The API has no mark for errors.
fn output(content_array: &Raw, is_error: bool, without: Without) -> Value {
    let blocks: Vec<Raw> = content_array.parse().unwrap_or_default();
    let mut items: Vec<Value> = blocks.iter().filter_map(|block| content(block, without)).collect();
    if items.is_empty() {
        items.push(input_text("(no output)"));
    }
    if is_error {
        items.insert(0, input_text("This tool call failed:"));
    }
    if items.iter().all(|item| item["type"] == "input_text") {
        let texts: Vec<&str> = items.iter().filter_map(|item| item["text"].as_str()).collect();
        return Value::String(texts.join("\n"));
    }
    Value::Array(items)
}

#[cfg(test)]
mod tests {
    use perennial_schema::content::text_content;
    use perennial_schema::event::Native;
    use serde_json::value::RawValue;

    use super::*;
    use crate::model::testing::{event_id, request, said};

    fn raw(text: &str) -> Raw {
        RawValue::from_string(text.into()).unwrap().into()
    }

    fn without(reasoning: bool) -> Without {
        Without {
            reasoning: u8::from(!reasoning),
            ..Without::default()
        }
    }

    fn encoded(request: &ModelRequest, reasoning: bool) -> (String, Value) {
        let text = String::from_utf8(encode("gpt-x", request, without(reasoning)).unwrap()).unwrap();
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
    fn a_conversation_becomes_items() {
        let reasoning = r#"{"type":"reasoning", "id":"rs_1","summary":[],"encrypted_content":"é\u00e9"}"#;
        let parts = vec![
            native("openai", reasoning),
            native("openai", r#"{"type":"reasoning","id":"rs_2","summary":[]}"#),
            native("anthropic", r#"{"type":"thinking"}"#),
            MessagePart::Text("ok".into()),
            MessagePart::ToolUse {
                id: event_id(1),
                native_id: Some("call_1".into()),
                name: "bash".into(),
                input: raw(r#"{"a": 1.50}"#),
            },
        ];
        let image = r#"[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]"#;
        let results = |content: Raw, is_error| {
            vec![
                MessagePart::ToolResult {
                    id: event_id(1),
                    native_id: None,
                    content,
                    is_error,
                },
                MessagePart::Text("go on".into()),
            ]
        };
        let mut ask = request(
            "gpt-x",
            vec![
                said("hi"),
                Message {
                    role: Role::Assistant,
                    parts,
                },
            ],
        );
        ask.messages.push(Message {
            role: Role::User,
            parts: results(text_content("no"), true),
        });
        let (text, value) = encoded(&ask, true);
        assert!(
            text.contains(reasoning) && !text.contains("rs_2") && !text.contains("thinking"),
            "{text}"
        );
        let items = &value["input"];
        assert_eq!(
            items[0],
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]})
        );
        assert_eq!(
            items[2],
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]})
        );
        assert_eq!(
            items[3],
            json!({"type": "function_call", "call_id": "call_1", "name": "bash", "arguments": "{\"a\": 1.50}"})
        );
        let failed = "This tool call failed:\nno";
        assert_eq!(
            items[4],
            json!({"type": "function_call_output", "call_id": "call_1", "output": failed})
        );
        assert_eq!(items[5]["content"][0]["text"], "go on");
        assert_eq!((&value["store"], &value["stream"]), (&json!(false), &json!(true)));
        assert_eq!(value["include"], json!(["reasoning.encrypted_content"]));
        ask.messages[2].parts = results(raw(image), false);
        let (_, value) = encoded(&ask, false);
        let output = json!([{"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}]);
        assert_eq!(value["input"][4]["output"], output);
        assert!(value.get("include").is_none());
    }

    #[test]
    fn blocks_find_their_words() {
        let kind = |block: &str| {
            content(&raw(block), Without::default()).map(|item| item["type"].as_str().unwrap().to_owned())
        };
        assert_eq!(kind(r#"{"type":"text","text":" "}"#), None);
        assert_eq!(
            kind(r#"{"type":"image","source":{"type":"url","url":"u"}}"#).unwrap(),
            "input_image"
        );
        assert_eq!(
            kind(r#"{"type":"document","source":{"type":"url","url":"u"}}"#).unwrap(),
            "input_file"
        );
        assert_eq!(
            kind(r#"{"type":"document","source":{"type":"text","data":"u"}}"#).unwrap(),
            "input_text"
        );
        assert_eq!(
            kind(r#"{"type":"image","source":{"type":"file","file_id":"u"}}"#).unwrap(),
            "input_text"
        );
        assert_eq!(kind(r#"{"type":"new"}"#).unwrap(), "input_text");
    }

    #[test]
    fn the_most_effort_has_another_name_here() {
        let mut ask = request("gpt-x", vec![said("hi")]);
        assert!(encoded(&ask, true).1.get("reasoning").is_none());
        ask.model.effort = Some(raw(r#"{"type":"max"}"#));
        assert_eq!(encoded(&ask, true).1["reasoning"], json!({"effort": "xhigh"}));
    }
}
