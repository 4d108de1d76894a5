//! The conversation as Claude Code's own session file: what `--resume` reads (measured with 2.1.197).
//!
//! * A user message takes one line for its results and one for everything else: in one line, the harness adds a line break
//!   to a text at its end.
//! * An assistant message takes one line **per block**, with one `message.id`: in one line, the harness loses tool ids.
//! * `message.model` on assistant lines is required: without it the process hangs for ever.
//! * Needed and sufficient: the `parentUuid` chain, `type`, `message`, `uuid`, `sessionId`, `timestamp`. Uuids are derived
//!   from session and line, so the same log renders to the same file.
//!
//! A pending user prompt is simply the last line. A tool use without its result must never be: the harness would drop it and
//! ask the model again. The kernel renders only settled steps, so that cannot happen here.

use std::borrow::Cow;

use chrono::SecondsFormat;
use perennial_engine::kernel::{Message, MessagePart};
use perennial_schema::Timestamp;
use perennial_schema::event::Raw;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::TOOL_PREFIX;
use crate::model::anthropic::body;

/// Renders messages to the lines of a session file. The blocks are those of the native adapter, so both harnesses send the
/// provider the same; only our tools have a prefix here.
pub(super) fn render(messages: &[Message], session: Uuid, model: &str, at: Timestamp) -> String {
    let mut file = File {
        text: String::new(),
        session,
        parent: None,
        lines: 0,
        at: at.datetime().to_rfc3339_opts(SecondsFormat::Millis, true),
    };
    let messages: Vec<_> = messages.iter().map(prefixed).collect();
    for message in body::messages(&messages) {
        if message.role == "assistant" {
            let id = Uuid::new_v5(&session, format!("message {}", file.lines).as_bytes());
            for block in &message.content {
                file.assistant(&format!("msg_{}", id.simple()), model, block);
            }
        } else {
            let (results, words): (Vec<_>, Vec<_>) = message.content.iter().partition(|block| is_result(block));
            file.user(&results);
            file.user(&words);
        }
    }
    file.text
}

/// A prompt for a live process, in one line; the blocks are those that [`render`] would write.
pub(super) fn prompt(message: &Message) -> String {
    let blocks: Vec<_> = body::messages(std::slice::from_ref(message))
        .iter()
        .flat_map(|message| &message.content)
        .map(|block| harmless(one_line(block)))
        .collect();
    let blocks = blocks.join(",");
    format!(
        r#"{{"type":"user","message":{{"role":"user","content":[{blocks}]}},"parent_tool_use_id":null,"session_id":""}}"#
    )
}

fn prefixed(message: &Message) -> Message {
    let mut message = message.clone();
    for part in &mut message.parts {
        if let MessagePart::ToolUse { name, .. } = part {
            name.insert_str(0, TOOL_PREFIX);
        }
    }
    message
}

fn is_result(block: &Raw) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    block.parse::<Kind<'_>>().is_ok_and(|block| block.kind == "tool_result")
}

/// Line breaks outside strings mean nothing in JSON, and inside strings they are always escaped.
fn one_line(json: &Raw) -> String {
    json.text().replace(['\n', '\r'], " ")
}

/// The harness takes a prompt that begins with a slash for one of its own commands and never asks the model. A space before
/// it makes it a prompt; nothing else is changed.
fn harmless(block: String) -> String {
    const TEXT: &str = r#""text":""#;
    match block.find(TEXT) {
        Some(at) if block[at + TEXT.len()..].starts_with('/') => {
            let at = at + TEXT.len();
            format!("{} {}", &block[..at], &block[at..])
        }
        _ => block,
    }
}

struct File {
    text: String,
    session: Uuid,
    parent: Option<Uuid>,
    lines: usize,
    at: String,
}

impl File {
    fn user(&mut self, blocks: &[&Raw]) {
        if !blocks.is_empty() {
            let content: Vec<_> = blocks.iter().map(|block| harmless(one_line(block))).collect();
            self.line(
                "user",
                &format!(r#"{{"role":"user","content":[{}]}}"#, content.join(",")),
            );
        }
    }

    fn assistant(&mut self, id: &str, model: &str, block: &Raw) {
        let (model, block) = (json!(model), one_line(block));
        let message =
            format!(r#"{{"role":"assistant","type":"message","id":"{id}","model":{model},"content":[{block}]}}"#);
        self.line("assistant", &message);
    }

    fn line(&mut self, kind: &str, message: &str) {
        let uuid = Uuid::new_v5(&self.session, self.lines.to_string().as_bytes());
        let parent = self
            .parent
            .map_or_else(|| "null".into(), |parent| format!("\"{parent}\""));
        let (session, at) = (self.session, &self.at);
        self.text.push_str(&format!(
            r#"{{"parentUuid":{parent},"type":"{kind}","message":{message},"uuid":"{uuid}","sessionId":"{session}","timestamp":"{at}"}}"#
        ));
        self.text.push('\n');
        self.parent = Some(uuid);
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use perennial_engine::kernel::Role;
    use perennial_schema::EventId;
    use perennial_schema::event::Native;
    use serde_json::Value;

    use super::*;

    const SESSION: Uuid = Uuid::from_u128(7);

    fn event(n: u128) -> EventId {
        EventId::from_uuid(Uuid::from_u128(n))
    }

    fn raw(text: &str) -> Raw {
        serde_json::from_str(text).unwrap()
    }

    fn conversation() -> Vec<Message> {
        let thinking = |provider: &str| {
            MessagePart::Native(Native {
                provider: provider.into(),
                block: raw(r#"{"type":"thinking","thinking":"hm","signature":"s=="}"#),
            })
        };
        vec![
            Message {
                role: Role::User,
                parts: vec![
                    MessagePart::Content(raw("{\"type\":\"text\",\n\"text\":\"go\"}")),
                    MessagePart::Text(String::new()),
                ],
            },
            Message {
                role: Role::Assistant,
                parts: vec![
                    thinking("anthropic"),
                    thinking("openai"),
                    MessagePart::Text("I look".into()),
                    MessagePart::ToolUse {
                        id: event(1),
                        native_id: Some("toolu_1".into()),
                        name: "bash".into(),
                        input: raw(r#"{"b":1,"a":2}"#),
                    },
                    MessagePart::ToolUse {
                        id: event(2),
                        native_id: Some("call|2".into()),
                        name: "read".into(),
                        input: raw("{}"),
                    },
                ],
            },
            Message {
                role: Role::User,
                parts: vec![MessagePart::ToolResult {
                    id: event(1),
                    native_id: Some("toolu_1".into()),
                    content: raw(r#"[{"type":"text","text":"x"}]"#),
                    is_error: true,
                }],
            },
        ]
    }

    fn lines(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_assistant_block_has_its_own_line_in_one_message() {
        let text = render(&conversation(), SESSION, "claude-x", Timestamp::from_micros(0));
        let lines = lines(&text);
        assert_eq!(lines.len(), 6);
        let assistant: Vec<_> = lines.iter().filter(|line| line["type"] == "assistant").collect();
        assert_eq!(assistant.len(), 4);
        for line in &assistant {
            assert_eq!(line["message"]["content"].as_array().unwrap().len(), 1);
            assert_eq!(line["message"]["id"], assistant[0]["message"]["id"]);
            assert_eq!(line["message"]["model"], "claude-x");
        }
        assert_eq!(assistant[2]["message"]["content"][0]["name"], "mcp__router__bash");
        assert_eq!(assistant[2]["message"]["content"][0]["id"], "toolu_1");
        // An id that is no id here is replaced by ours.
        assert_eq!(assistant[3]["message"]["content"][0]["id"], event(2).to_string());
        assert_eq!(lines[5]["message"]["content"][0]["is_error"], true);
    }

    #[test]
    fn lines_form_a_chain_that_renders_the_same_again() {
        let text = render(&conversation(), SESSION, "claude-x", Timestamp::from_micros(0));
        assert_eq!(
            text,
            render(&conversation(), SESSION, "claude-x", Timestamp::from_micros(0))
        );
        let lines = lines(&text);
        assert_eq!(lines[0]["parentUuid"], Value::Null);
        for pair in lines.windows(2) {
            assert_eq!(pair[1]["parentUuid"], pair[0]["uuid"]);
            assert_eq!(pair[1]["sessionId"], SESSION.to_string());
        }
        assert_eq!(lines[0]["timestamp"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn thinking_and_inputs_stay_byte_for_byte_and_foreign_thinking_is_left_out() {
        let text = render(&conversation(), SESSION, "claude-x", Timestamp::from_micros(0));
        assert_eq!(
            text.matches(r#"{"type":"thinking","thinking":"hm","signature":"s=="}"#)
                .count(),
            1
        );
        assert!(text.contains(r#""input":{"b":1,"a":2}"#));
        assert!(
            text.contains(r#"[{"type":"text", "text":"go"}]"#),
            "one line, nothing else changed"
        );
    }
}
