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

use chrono::SecondsFormat;
use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_schema::Timestamp;
use perennial_schema::event::Raw;
use serde_json::json;
use uuid::Uuid;

use super::TOOL_PREFIX;
use crate::model::anthropic::PROVIDER;
use crate::model::ids::CallIds;

/// Renders messages to the lines of a session file.
pub(super) fn render(messages: &[Message], session: Uuid, model: &str, at: Timestamp) -> String {
    let mut file = File {
        text: String::new(),
        session,
        parent: None,
        lines: 0,
        at: at.datetime().to_rfc3339_opts(SecondsFormat::Millis, true),
    };
    let ids = CallIds::of(messages);
    for message in messages {
        let blocks =
            |parts: &[&MessagePart]| -> Vec<String> { parts.iter().filter_map(|part| block(part, &ids)).collect() };
        let (results, words): (Vec<_>, Vec<_>) = message.parts.iter().partition(|part| is_result(part));
        match message.role {
            Role::User => {
                file.user(&blocks(&results).join(","));
                file.user(&blocks(&words).join(","));
            }
            Role::Assistant => {
                let id = format!(
                    "msg_{}",
                    Uuid::new_v5(&session, format!("message {}", file.lines).as_bytes()).simple()
                );
                for block in blocks(&words) {
                    file.assistant(&id, model, &block);
                }
            }
        }
    }
    file.text
}

const fn is_result(part: &MessagePart) -> bool {
    matches!(part, MessagePart::ToolResult { .. })
}

/// A content block as JSON text, so that what must stay byte for byte (thinking, inputs, results) stays so.
fn block(part: &MessagePart, ids: &CallIds) -> Option<String> {
    match part {
        MessagePart::Text(text) if text.is_empty() => None,
        MessagePart::Text(text) => Some(json!({"type": "text", "text": text}).to_string()),
        MessagePart::Content(block) => Some(one_line(block)),
        MessagePart::Native(native) => (native.provider == PROVIDER).then(|| one_line(&native.block)),
        MessagePart::ToolUse { id, name, input, .. } => {
            let id = json!(ids.get(*id));
            let name = json!(format!("{TOOL_PREFIX}{name}"));
            let input = one_line(input);
            Some(format!(
                r#"{{"type":"tool_use","id":{id},"name":{name},"input":{input}}}"#
            ))
        }
        MessagePart::ToolResult {
            id, content, is_error, ..
        } => {
            let id = json!(ids.get(*id));
            let content = one_line(content);
            Some(format!(
                r#"{{"type":"tool_result","tool_use_id":{id},"content":{content},"is_error":{is_error}}}"#
            ))
        }
    }
}

/// Line breaks outside strings mean nothing in JSON, and inside strings they are always escaped.
fn one_line(json: &Raw) -> String {
    json.text().replace(['\n', '\r'], " ")
}

struct File {
    text: String,
    session: Uuid,
    parent: Option<Uuid>,
    lines: usize,
    at: String,
}

impl File {
    fn user(&mut self, content: &str) {
        if !content.is_empty() {
            self.line("user", &format!(r#"{{"role":"user","content":[{content}]}}"#));
        }
    }

    fn assistant(&mut self, id: &str, model: &str, block: &str) {
        let model = json!(model);
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
