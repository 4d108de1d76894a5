//! The conversation as Codex's own session file: what `thread/resume` reads (measured with 0.169.0).
//!
//! A head, then one input item a line. The items are those of the native adapter, so both send the provider the same. Codex
//! drops a line it cannot read without a word: what it has no form for becomes text that says what it was. A call without
//! its output must never be: Codex would make one up ("aborted"). The kernel renders only settled steps.

use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use perennial_engine::kernel::Message;
use perennial_engine::ports::ToolSpec;
use perennial_schema::Timestamp;
use perennial_schema::event::Raw;
use serde_json::{Value, json};
use uuid::Uuid;

use super::config;
use crate::harness::process::Version;
use crate::model::openai::body;

/// A thread's file below a home.
pub(super) fn file(thread: Uuid) -> PathBuf {
    // Codex reads the id and the time from the name; nobody asks for the time.
    PathBuf::from(format!(
        "sessions/2026/01/01/rollout-2026-01-01T00-00-00-{thread}.jsonl"
    ))
}

/// What stands at the top of a file.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) thread: Uuid,
    pub(super) work: &'a Path,
    pub(super) tools: &'a [ToolSpec],
    pub(super) version: Version,
    pub(super) at: Timestamp,
}

/// The file's text.
pub(super) fn render(head: &Head<'_>, items: &[Raw]) -> String {
    let at = head.at.datetime().to_rfc3339_opts(SecondsFormat::Millis, true);
    let meta = json!({
        "id": head.thread,
        "timestamp": at,
        "cwd": head.work,
        "originator": "perennial",
        "cli_version": head.version.to_string(),
        "source": "vscode",
        "model_provider": config::PROVIDER,
        "dynamic_tools": config::tools(head.tools),
    });
    let mut text = format!(r#"{{"timestamp":"{at}","type":"session_meta","payload":{meta}}}"#);
    for item in items {
        let item = item.text().replace(['\n', '\r'], " ");
        text.push_str(&format!(
            "\n{{\"timestamp\":\"{at}\",\"type\":\"response_item\",\"payload\":{item}}}"
        ));
    }
    text.push('\n');
    text
}

/// The conversation as items Codex can read.
pub(super) fn items(messages: &[Message]) -> Vec<Raw> {
    body::items(messages).into_iter().map(readable).collect()
}

fn readable(item: Raw) -> Raw {
    // Most items have nothing to be changed; only what may is taken apart.
    let text = item.text();
    let suspect = text.contains("input_file") || text.contains(r#""reasoning""#);
    if !suspect {
        return item;
    }
    let Ok(mut value) = item.parse::<Value>() else {
        return item;
    };
    let mut changed = false;
    for member in ["content", "output"] {
        for part in value[member].as_array_mut().into_iter().flatten() {
            if part["type"] == "input_file" {
                *part = json!({"type": "input_text", "text": told(part)});
                changed = true;
            }
        }
    }
    if value["type"] == "reasoning" && !value["summary"].is_array() {
        value["summary"] = json!([]);
        changed = true;
    }
    if changed { Raw::of(&value) } else { item }
}

fn told(file: &Value) -> String {
    let name = file["filename"].as_str().or_else(|| file["file_url"].as_str());
    format!(
        "[a document that Codex cannot take: {}]",
        name.unwrap_or("without a name")
    )
}

#[cfg(test)]
mod tests {
    use perennial_engine::kernel::{MessagePart, Role};
    use perennial_schema::event::Native;

    use super::*;

    fn raw(text: &str) -> Raw {
        serde_json::from_str(text).unwrap()
    }

    fn user(block: &str) -> Message {
        Message {
            role: Role::User,
            parts: vec![MessagePart::Content(raw(block))],
        }
    }

    #[test]
    fn a_file_is_a_head_and_an_item_a_line() {
        let head = Head {
            thread: Uuid::from_u128(7),
            work: Path::new("/session/work"),
            tools: &[],
            version: Version(0, 169, 0),
            at: Timestamp::from_micros(0),
        };
        let items = items(&[user("{\"type\":\"text\",\n\"text\":\"go\"}")]);
        let text = render(&head, &items);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["type"], &lines[0]["payload"]["dynamic_tools"]),
            (&json!("session_meta"), &json!([]))
        );
        assert_eq!(lines[0]["payload"]["model_provider"], config::PROVIDER);
        assert_eq!(lines[1]["payload"]["content"][0]["text"], "go");
        assert!(
            file(head.thread)
                .to_string_lossy()
                .ends_with(&format!("{}.jsonl", head.thread))
        );
    }

    #[test]
    fn what_codex_would_drop_is_said_in_words() {
        let pdf = r#"{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"AA"}}"#;
        let items = items(&[user(pdf)]);
        assert!(
            items[0].text().contains("input_text") && items[0].text().contains("a.pdf"),
            "{items:?}"
        );
    }

    #[test]
    fn reasoning_stays_byte_for_byte() {
        let block = raw(r#"{"type":"reasoning", "id":"rs_1","summary":[],"encrypted_content":"é=="}"#);
        let native = MessagePart::Native(Native {
            provider: "openai".into(),
            block: block.clone(),
        });
        let parts = vec![native, MessagePart::Text("so".into())];
        let items = items(&[
            user(r#"{"type":"text","text":"go"}"#),
            Message {
                role: Role::Assistant,
                parts,
            },
        ]);
        assert_eq!(items[1].text(), block.text());
    }
}
