//! Transcripts of Claude Code: a tree of lines, joined by `parentUuid`; the last line says which branch is the conversation.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Heard, Part, Transcript, safe, time, tool_input, tool_name};
use crate::Timestamp;
use crate::content::{Block, Source};
use crate::event::{Native, Raw};
use crate::model::Usage;

/// Lines that say nothing of the conversation, and are known to.
const BESIDE: [&str; 14] = [
    "summary",
    "custom-title",
    "ai-title",
    "agent-name",
    "last-prompt",
    "file-history-snapshot",
    "attachment",
    "progress",
    "queue-operation",
    "permission-mode",
    "mode",
    "pr-link",
    "tag",
    "system",
];
/// What the program says in the model's name.
const SYNTHETIC: &str = "<synthetic>";

/// Collects lines; what they come to is known at the end.
#[derive(Debug, Default)]
pub struct ClaudeCode {
    lines: Vec<Line>,
    by_uuid: BTreeMap<String, usize>,
    id: Option<String>,
    title: Option<String>,
    named: bool,
    unread: u64,
}

#[derive(Debug)]
struct Line {
    uuid: Option<String>,
    parent: Option<String>,
    /// The model's message it belongs to.
    message: Option<String>,
    /// Nothing of it is heard, but it joins others.
    parts: Vec<Part>,
    model: Option<String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct WithMessage<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

impl ClaudeCode {
    /// Takes a line.
    pub fn line(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            self.unread += 1;
            return;
        };
        let kind = value["type"].as_str().unwrap_or_default();
        self.titles(kind, &value);
        let member = |name: &str| value[name].as_str().map(str::to_owned);
        if self.id.is_none() {
            self.id = member("sessionId");
        }
        let aside = value["isSidechain"] == true || value["isMeta"] == true;
        let mut line = Line {
            uuid: member("uuid"),
            // Before a compaction the branch goes on under another name.
            parent: member("parentUuid").or_else(|| member("logicalParentUuid")),
            message: None,
            parts: Vec::new(),
            model: None,
        };
        match kind {
            "user" | "assistant" if aside => {}
            "user" | "assistant" => match serde_json::from_str::<WithMessage<'_>>(text) {
                Ok(WithMessage { message }) => self.message(kind, &value, &message, &mut line),
                Err(_) => self.unread += 1,
            },
            known if BESIDE.contains(&known) => {}
            _ => self.unread += 1,
        }
        if let Some(uuid) = &line.uuid {
            self.by_uuid.insert(uuid.clone(), self.lines.len());
        }
        self.lines.push(line);
    }

    /// A name a person gave wins over one the program made.
    fn titles(&mut self, kind: &str, value: &Value) {
        let (member, given) = match kind {
            "custom-title" => ("customTitle", true),
            "ai-title" => ("aiTitle", false),
            "summary" => ("summary", false),
            _ => return,
        };
        if let Some(title) = value[member].as_str().filter(|_| given || !self.named) {
            self.title = Some(safe(title));
            self.named |= given;
        }
    }

    fn message(&mut self, kind: &str, value: &Value, message: &Message<'_>, line: &mut Line) {
        if message.model.as_deref() == Some(SYNTHETIC) || value["isApiErrorMessage"] == true {
            return;
        }
        let at = time(&value["timestamp"]);
        let heard = if kind == "user" {
            self.user(value, message.content)
        } else {
            line.message = message.id.clone().or_else(|| line.uuid.clone());
            line.model.clone_from(&message.model);
            self.assistant(message.content)
        };
        let usage = message
            .usage
            .clone()
            .and_then(|usage| serde_json::from_value(usage).ok());
        let usage: Usage = usage.unwrap_or_default();
        line.parts = heard.into_iter().map(|heard| part(at, line, usage, heard)).collect();
    }

    fn user(&mut self, value: &Value, content: Option<&RawValue>) -> Vec<Heard> {
        let content: Value = content
            .and_then(|content| serde_json::from_str(content.get()).ok())
            .unwrap_or_default();
        if value["isCompactSummary"] == true {
            return vec![Heard::Compacted(plain(&content))];
        }
        let mut heard = Vec::new();
        let mut said = Vec::new();
        let blocks = match &content {
            Value::String(text) => {
                said.push(Block::text(safe(text)));
                &[][..]
            }
            Value::Array(blocks) => blocks,
            _ => {
                self.unread += 1;
                &[]
            }
        };
        for given in blocks {
            if given["type"] == "tool_result" {
                heard.push(Heard::ToolResult {
                    id: given["tool_use_id"].as_str().unwrap_or_default().to_owned(),
                    content: self.blocks(&given["content"]),
                    is_error: given["is_error"] == true,
                });
            } else {
                said.extend(self.block(given));
            }
        }
        said.retain(|block| !matches!(block, Block::Text { text } if text.trim().is_empty()));
        if !said.is_empty() {
            heard.push(Heard::User(said));
        }
        heard
    }

    fn assistant(&mut self, content: Option<&RawValue>) -> Vec<Heard> {
        let Some(content) = content else { return Vec::new() };
        if let Ok(text) = serde_json::from_str::<String>(content.get()) {
            return vec![Heard::Text(safe(&text))];
        }
        // Raw: thinking goes back to its provider byte for byte.
        let blocks: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
        let mut heard = Vec::new();
        for raw in blocks {
            let block: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            match block["type"].as_str().unwrap_or_default() {
                "text" => heard.extend(block["text"].as_str().map(|text| Heard::Text(safe(text)))),
                "thinking" | "redacted_thinking" => heard.push(Heard::Thinking(native(raw, &block))),
                "tool_use" => heard.push(Heard::ToolUse {
                    id: block["id"].as_str().unwrap_or_default().to_owned(),
                    name: tool_name(block["name"].as_str().unwrap_or_default()),
                    input: tool_input(&block["input"]),
                }),
                _ => self.unread += 1,
            }
        }
        heard
    }

    fn blocks(&mut self, content: &Value) -> Vec<Block> {
        match content {
            Value::String(text) => vec![Block::text(safe(text))],
            Value::Array(blocks) => blocks.iter().filter_map(|block| self.block(block)).collect(),
            _ => Vec::new(),
        }
    }

    fn block(&mut self, given: &Value) -> Option<Block> {
        let parsed = match given["type"].as_str().unwrap_or_default() {
            "text" => given["text"].as_str().map(|text| Block::text(safe(text))),
            "image" | "document" => serde_json::from_value(given.clone()).ok().filter(is_inline),
            // Names of tools that were looked up; the model has the tools.
            "tool_reference" => given["tool_name"].as_str().map(|name| Block::text(safe(name))),
            _ => None,
        };
        self.unread += u64::from(parsed.is_none());
        parsed
    }

    /// The conversation the last line ends.
    #[must_use]
    pub fn transcript(self) -> Transcript {
        let kept = self.branch();
        let mut transcript = Transcript {
            id: self.id.unwrap_or_default(),
            title: self.title,
            unread: self.unread,
            ..Transcript::default()
        };
        for (line, _) in self.lines.into_iter().zip(kept).filter(|(_, kept)| *kept) {
            transcript.model = line.model.or(transcript.model);
            transcript.parts.extend(line.parts);
        }
        // Each line of a message repeats the usage of all of it.
        let mut later = None;
        for part in transcript.parts.iter_mut().rev() {
            if part.message.is_some() && part.message == later {
                part.usage = Usage::default();
            }
            later.clone_from(&part.message);
        }
        transcript
    }

    /// Which lines belong to it: those above the last one, the other lines of their messages, and the results of their calls.
    /// Files without `uuid`s are one branch.
    fn branch(&self) -> Vec<bool> {
        let leaf = self.lines.iter().rposition(|line| !line.parts.is_empty());
        if self.lines.iter().all(|line| line.uuid.is_none()) {
            return vec![true; self.lines.len()];
        }
        let mut kept = vec![false; self.lines.len()];
        let mut at = leaf;
        while let Some(index) = at.filter(|index| !kept[*index]) {
            kept[index] = true;
            let parent = self.lines[index].parent.as_ref();
            at = parent.and_then(|parent| self.by_uuid.get(parent)).copied();
        }
        let messages: BTreeSet<&String> = self
            .with(&kept)
            .into_iter()
            .filter_map(|line| line.message.as_ref())
            .collect();
        for (line, kept) in self.lines.iter().zip(&mut kept) {
            *kept |= line.message.as_ref().is_some_and(|message| messages.contains(message));
        }
        let calls: BTreeSet<&String> = self
            .with(&kept)
            .into_iter()
            .flat_map(|line| &line.parts)
            .filter_map(|part| match &part.heard {
                Heard::ToolUse { id, .. } => Some(id),
                _ => None,
            })
            .collect();
        for (line, kept) in self.lines.iter().zip(&mut kept) {
            *kept |= line
                .parts
                .iter()
                .any(|part| matches!(&part.heard, Heard::ToolResult { id, .. } if calls.contains(id)));
        }
        kept
    }

    fn with<'a>(&'a self, kept: &[bool]) -> Vec<&'a Line> {
        let lines = self.lines.iter().zip(kept).filter(|(_, kept)| **kept);
        lines.map(|(line, _)| line).collect()
    }
}

fn part(at: Option<Timestamp>, line: &Line, usage: Usage, heard: Heard) -> Part {
    Part {
        at,
        message: line.message.clone(),
        usage,
        heard,
    }
}

/// Thinking without its signature is of no use to its provider.
fn native(raw: &RawValue, block: &Value) -> Option<Native> {
    let signed = block["signature"]
        .as_str()
        .is_some_and(|signature| !signature.is_empty());
    let redacted = block["data"].is_string();
    (signed || redacted).then(|| Native {
        provider: "anthropic".into(),
        block: Raw::from(raw.to_owned()),
    })
}

fn is_inline(block: &Block) -> bool {
    !matches!(
        block,
        Block::Image {
            source: Source::File { .. }
        } | Block::Document {
            source: Source::File { .. },
            ..
        }
    )
}

fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => safe(text),
        other => safe(&crate::content::plain_text(&Raw::of(other))),
    }
}
