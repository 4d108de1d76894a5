//! What a list of sessions says of a session: its last event that tells a person something, and the beginning of its words. A
//! session's row only says which commit brought the event: lists are read seldom and rows are written with every step.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Body, Draft, Raw, Verdict};

/// Most bytes of an event's words.
const WORDS: usize = 160;
/// Longer JSON is not looked into: it would be parsed for the one line that is shown of it.
const LOOKED_INTO: usize = 64 * 1024;
/// The members of a tool's input that say what it is about, best first.
const TELLING: [&str; 8] = [
    "command",
    "file_path",
    "path",
    "pattern",
    "query",
    "url",
    "to",
    "prompt",
];

/// The last event of a session, in few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEvent {
    /// Its type, e.g. `agent.tool_use`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The tool it uses, or who it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The beginning of what it says: one line of at most 160 bytes. None where it says nothing in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A tool's result that is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

impl LastEvent {
    /// Whether a commit has an event that tells something; otherwise its events are for machines only.
    #[must_use]
    pub fn is_among(events: &[Draft]) -> bool {
        events.iter().any(|event| Self::is_told(&event.body))
    }

    const fn is_told(body: &Body) -> bool {
        matches!(
            body,
            Body::UserMessage(_)
                | Body::AgentMessage(_)
                | Body::UserDefineOutcome(_)
                | Body::UserInterrupt(_)
                | Body::UserToolConfirmation(_)
                | Body::AgentToolUse(_)
                | Body::AgentCustomToolUse(_)
                | Body::AgentMcpToolUse(_)
                | Body::AgentToolResult(_)
                | Body::UserToolResult(_)
                | Body::AgentMcpToolResult(_)
                | Body::UserCustomToolResult(_)
                | Body::SessionError(_)
                | Body::MailReceived(_)
                | Body::SessionForked(_)
                | Body::SessionImported(_)
                | Body::ContextCompacted(_)
        )
    }

    /// What an event tells; none when it is for machines only.
    #[must_use]
    pub fn told(body: &Body) -> Option<Self> {
        let (name, text) = match body {
            Body::UserMessage(said) | Body::AgentMessage(said) => (None, words_of(&said.content)),
            Body::UserDefineOutcome(wanted) => (None, line(&wanted.description)),
            Body::UserInterrupt(_) => (None, None),
            Body::UserToolConfirmation(given) => {
                let verdict = match given.result {
                    Verdict::Allow => "allow",
                    Verdict::Deny => "deny",
                };
                (None, Some(verdict.to_owned()))
            }
            Body::AgentToolUse(tool) | Body::AgentCustomToolUse(tool) => (line(&tool.name), about(&tool.input)),
            Body::AgentMcpToolUse(tool) => (line(&tool.name), about(&tool.input)),
            Body::AgentToolResult(result) | Body::UserToolResult(result) => {
                return Some(Self::result(body, result.content.as_ref(), result.is_error));
            }
            Body::AgentMcpToolResult(result) => {
                return Some(Self::result(body, result.content.as_ref(), result.is_error));
            }
            Body::UserCustomToolResult(result) => {
                return Some(Self::result(body, result.content.as_ref(), result.is_error));
            }
            Body::SessionError(failed) => (None, line(&failed.error.message)),
            Body::MailReceived(mail) => {
                let subject = mail.subject.as_deref().and_then(line);
                (line(&mail.from), subject.or_else(|| words_of(&mail.content)))
            }
            Body::SessionForked(_) | Body::SessionImported(_) | Body::ContextCompacted(_) => (None, None),
            _ => return None,
        };
        Some(Self {
            kind: body.kind().to_owned(),
            name,
            text,
            is_error: false,
        })
    }

    fn result(body: &Body, content: Option<&Raw>, is_error: Option<bool>) -> Self {
        Self {
            kind: body.kind().to_owned(),
            name: None,
            text: content.and_then(words_of),
            is_error: is_error == Some(true),
        }
    }
}

/// The first words among content blocks.
fn words_of(content: &Raw) -> Option<String> {
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(borrow, default)]
        text: Option<Cow<'a, str>>,
    }
    let looked_into = content.text().len() <= LOOKED_INTO;
    let blocks: Vec<Block<'_>> = looked_into.then(|| content.parse().ok()).flatten()?;
    blocks.iter().find_map(|block| line(block.text.as_deref()?))
}

/// What a tool's input is about.
fn about(input: &Raw) -> Option<String> {
    if input.text().len() > LOOKED_INTO {
        return None;
    }
    let members: serde_json::Map<String, serde_json::Value> = input.parse().ok()?;
    let text = |name: &str| members.get(name)?.as_str();
    let told = TELLING.iter().find_map(|name| text(name));
    let any = || members.values().find_map(serde_json::Value::as_str);
    line(told.or_else(any)?)
}

/// The beginning of a text as one line without control characters; none of a text without words.
fn line(text: &str) -> Option<String> {
    let mut line = String::new();
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > WORDS {
            line.truncate(line.floor_char_boundary(WORDS - '…'.len_utf8()));
            line.push('…');
            break;
        }
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::text_content;
    use crate::event::{Empty, Message, ToolResult, ToolUse};
    use crate::{EventId, Timestamp};

    fn draft(body: Body) -> Draft {
        Draft::new(
            EventId::from_uuid(uuid::Uuid::from_u128(1)),
            body,
            Timestamp::from_micros(0),
        )
    }

    fn said(text: &str) -> Draft {
        draft(Body::AgentMessage(Message {
            content: text_content(text),
        }))
    }

    fn tool(input: &serde_json::Value) -> Draft {
        draft(Body::AgentToolUse(ToolUse {
            name: "bash".into(),
            input: Raw::of(input),
            evaluated_permission: None,
        }))
    }

    fn of(events: &[Draft]) -> Option<LastEvent> {
        let last = events.iter().rev().find_map(|event| LastEvent::told(&event.body));
        assert_eq!(last.is_some(), LastEvent::is_among(events));
        last
    }

    fn check(events: &[Draft], expect: Option<(&str, Option<&str>, Option<&str>)>) {
        let last = of(events);
        let shown = last
            .as_ref()
            .map(|last| (last.kind.as_str(), last.name.as_deref(), last.text.as_deref()));
        assert_eq!(shown, expect);
    }

    #[test]
    fn the_last_event_with_words_is_told() {
        let span = draft(Body::SpanModelRequestStart(Empty::default()));
        check(&[], None);
        check(std::slice::from_ref(&span), None);
        check(
            &[said("one\n\ttwo\u{7}  three"), span],
            Some(("agent.message", None, Some("one two three"))),
        );
        check(
            &[
                said("so"),
                tool(&serde_json::json!({"description": "x", "command": "cargo  test"})),
            ],
            Some(("agent.tool_use", Some("bash"), Some("cargo test"))),
        );
        check(
            &[tool(&serde_json::json!({"n": 3, "which": "that"}))],
            Some(("agent.tool_use", Some("bash"), Some("that"))),
        );
        check(
            &[tool(&serde_json::json!({}))],
            Some(("agent.tool_use", Some("bash"), None)),
        );
    }

    #[test]
    fn words_are_few_however_many_there_are() {
        for text in ["é".repeat(4000), "ab ".repeat(4000), format!("{}x", "é".repeat(80))] {
            let last = of(&[said(&text)]).and_then(|last| last.text).unwrap();
            assert!(last.len() <= WORDS && last.len() > WORDS - 8, "{} bytes", last.len());
            assert!(last.ends_with('…'));
        }
        let whole = "é".repeat(80);
        check(&[said(&whole)], Some(("agent.message", None, Some(&whole))));
        check(
            &[said(&"x".repeat(LOOKED_INTO + 1))],
            Some(("agent.message", None, None)),
        );
    }

    #[test]
    fn a_result_says_whether_it_is_an_error() {
        let result = draft(Body::AgentToolResult(ToolResult {
            tool_use_id: EventId::from_uuid(uuid::Uuid::from_u128(2)),
            content: Some(text_content("exit code 1")),
            is_error: Some(true),
        }));
        let last = of(&[result]).unwrap();
        assert_eq!((last.text.as_deref(), last.is_error), (Some("exit code 1"), true));
        let kept = serde_json::to_string(&last).unwrap();
        assert_eq!(serde_json::from_str::<LastEvent>(&kept).unwrap(), last);
    }
}
