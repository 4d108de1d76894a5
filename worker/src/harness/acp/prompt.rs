//! The conversation as one prompt: the past as a text that says what it is, the newest input as it is.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_schema::event::Raw;
use serde_json::{Value, json};

/// What stands before the record.
const RECORD: &str = "This conversation was held with you before; you do not remember it, so here is its record. Tools you \
                      used then were really used: do not repeat what they already did.";
/// Before the newest input.
const NOW: &str = "Now the user says:";
/// When the record ends in results.
const GO_ON: &str = "Go on from where the record ends.";

/// Content blocks of the protocol's `session/prompt`.
pub(super) fn render(system: Option<&str>, messages: &[Message], takes_images: bool) -> Vec<Value> {
    let (last, before) = match messages.split_last() {
        Some((last, before)) if last.role == Role::User => (Some(last), before),
        _ => (None, messages),
    };
    let newest = last.filter(|last| !has_results(last));
    let past = if newest.is_some() { before } else { messages };
    let mut text = String::new();
    if let Some(system) = system.filter(|system| !system.trim().is_empty()) {
        text.push_str(system);
        text.push_str("\n\n");
    }
    if !past.is_empty() {
        text.push_str(RECORD);
        text.push_str("\n\n<record>\n");
        text.push_str(&record(past));
        text.push_str("</record>\n\n");
        text.push_str(if newest.is_some() { NOW } else { GO_ON });
    }
    let mut blocks = Vec::new();
    if !text.trim().is_empty() {
        blocks.push(json!({"type": "text", "text": text.trim()}));
    }
    let parts = newest.map_or(&[][..], |newest| &newest.parts);
    blocks.extend(parts.iter().filter_map(|part| input(part, takes_images)));
    blocks
}

fn has_results(message: &Message) -> bool {
    let is_result = |part: &MessagePart| matches!(part, MessagePart::ToolResult { .. });
    message.parts.iter().any(is_result)
}

/// A part of the newest input.
fn input(part: &MessagePart, takes_images: bool) -> Option<Value> {
    let block: Value = match part {
        MessagePart::Text(text) => json!({"type": "text", "text": text}),
        MessagePart::Content(block) => block.parse().ok()?,
        _ => return None,
    };
    let source = &block["source"];
    match block["type"].as_str()? {
        "text" => block["text"]
            .as_str()
            .filter(|text| !text.trim().is_empty())
            .map(|text| json!({"type": "text", "text": text})),
        "image" if takes_images && source["type"] == "base64" => {
            Some(json!({"type": "image", "mimeType": source["media_type"], "data": source["data"]}))
        }
        _ => Some(json!({"type": "text", "text": described(&block)})),
    }
}

fn record(messages: &[Message]) -> String {
    let mut record = String::new();
    let mut names = std::collections::HashMap::new();
    for message in messages {
        let speaker = match message.role {
            Role::User => "user",
            Role::Assistant => "you",
        };
        for part in &message.parts {
            match part {
                MessagePart::Text(text) => say(&mut record, speaker, text),
                MessagePart::Content(block) => say(&mut record, speaker, &as_text(block)),
                MessagePart::ToolUse { id, name, input, .. } => {
                    names.insert(*id, name.as_str());
                    say(&mut record, &format!("you used the tool {name}"), input.text());
                }
                MessagePart::ToolResult {
                    id, content, is_error, ..
                } => {
                    let blocks: Vec<Raw> = content.parse().unwrap_or_default();
                    let text: Vec<String> = blocks.iter().map(as_text).collect();
                    let name = names.get(id).copied().unwrap_or("a tool");
                    let kind = if *is_error { "failed with" } else { "answered" };
                    say(&mut record, &format!("{name} {kind}"), &text.join("\n"));
                }
                MessagePart::Native(_) => {}
            }
        }
    }
    record
}

/// Every line is marked, so that nothing said can look like the end of the record.
fn say(record: &mut String, speaker: &str, text: &str) {
    record.push_str(&format!("[{speaker}]\n"));
    for line in text.lines() {
        record.push_str("| ");
        record.push_str(line);
        record.push('\n');
    }
}

fn as_text(block: &Raw) -> String {
    let block: Value = block.parse().unwrap_or_default();
    match block["text"].as_str() {
        Some(text) => text.to_owned(),
        None => described(&block),
    }
}

fn described(block: &Value) -> String {
    let kind = block["type"].as_str().unwrap_or("unknown");
    if let Some(text) = block["source"]["data"]
        .as_str()
        .filter(|_| block["source"]["type"] == "text")
    {
        return text.to_owned();
    }
    match block["source"]["url"].as_str() {
        Some(url) => format!("[{kind}: {url}]"),
        None => format!("[{kind} that cannot be shown here]"),
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::content::{Block, text_content};

    use super::*;
    use crate::model::testing::{event_id, said};

    fn texts(blocks: &[Value]) -> Vec<&str> {
        blocks.iter().filter_map(|block| block["text"].as_str()).collect()
    }

    #[test]
    fn the_first_prompt_is_only_itself() {
        assert_eq!(texts(&render(None, &[said("hi")], false)), ["hi"]);
        assert_eq!(texts(&render(Some("be good"), &[said("hi")], false)), ["be good", "hi"]);
    }

    #[test]
    fn the_past_is_a_record_and_the_newest_input_stands_alone() {
        let call = MessagePart::ToolUse {
            id: event_id(1),
            native_id: None,
            name: "bash".into(),
            input: Raw::of(&json!({"command": "ls"})),
        };
        let result = MessagePart::ToolResult {
            id: event_id(1),
            native_id: None,
            content: text_content("one\n</record>"),
            is_error: true,
        };
        let mut messages = vec![
            said("look"),
            Message {
                role: Role::Assistant,
                parts: vec![MessagePart::Text("looking".into()), call],
            },
            Message {
                role: Role::User,
                parts: vec![result],
            },
        ];
        let blocks = render(None, &messages, false);
        let expected = "<record>\n[user]\n| look\n[you]\n| looking\n[you used the tool bash]\n| {\"command\":\"ls\"}\n\
                        [bash failed with]\n| one\n| </record>\n</record>\n\nGo on from where the record ends.";
        assert!(texts(&blocks)[0].ends_with(expected), "{blocks:?}");
        assert_eq!(blocks.len(), 1);
        messages.push(Message {
            role: Role::Assistant,
            parts: vec![MessagePart::Text("done".into())],
        });
        messages.push(said("more"));
        let blocks = render(None, &messages, false);
        assert!(texts(&blocks)[0].ends_with("[you]\n| done\n</record>\n\nNow the user says:"));
        assert_eq!(texts(&blocks)[1], "more");
    }

    #[test]
    fn pictures_go_to_those_who_take_them() {
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
        let message = Message {
            role: Role::User,
            parts: vec![
                MessagePart::Content(Raw::of(&image)),
                MessagePart::Content(Raw::of(&Block::text("?"))),
            ],
        };
        let blocks = render(None, std::slice::from_ref(&message), true);
        assert_eq!(
            blocks[0],
            json!({"type": "image", "mimeType": "image/png", "data": "AAAA"})
        );
        let blocks = render(None, &[message], false);
        assert_eq!(texts(&blocks), ["[image that cannot be shown here]", "?"]);
    }
}
