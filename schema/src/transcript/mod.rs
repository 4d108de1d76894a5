//! What other programs keep of their conversations, read line by line into neutral parts: the transcripts of Claude Code
//! (`~/.claude/projects/*/ID.jsonl`) and the rollouts of Codex (`rollout-*.jsonl`).
//!
//! Both formats are private to their programs and change with them, so reading is lenient: a line nobody knows is counted, not
//! refused, and a part that is missing is missing.

mod claude_code;
mod codex;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

pub use claude_code::ClaudeCode;
pub use codex::Codex;

use crate::Timestamp;
use crate::content::Block;
use crate::event::{Native, Raw};
use crate::model::Usage;

/// Whose transcript it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
}

/// Not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transcripts are read of claude-code and codex")]
pub struct NotAnOrigin;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        })
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        match text {
            "claude-code" => Ok(Self::ClaudeCode),
            "codex" => Ok(Self::Codex),
            _ => Err(NotAnOrigin),
        }
    }
}

impl Origin {
    /// Whose a line is, if it says so.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let kind = line["type"].as_str().unwrap_or_default();
        let wrapped = line["payload"].is_object();
        let codex = wrapped
            && matches!(
                kind,
                "session_meta" | "response_item" | "event_msg" | "turn_context" | "compacted"
            );
        let claude = ["sessionId", "parentUuid", "leafUuid"]
            .iter()
            .any(|member| line.get(member).is_some());
        match (codex, claude) {
            (true, _) => Some(Self::Codex),
            (false, true) => Some(Self::ClaudeCode),
            (false, false) => None,
        }
    }
}

/// Something of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A person (or the program in their name) said something.
    User(Vec<Block>),
    /// The model said something.
    Text(String),
    /// The model thought; none when only that is known.
    Thinking(Option<Native>),
    /// The model called a tool.
    ToolUse {
        /// The provider's id.
        id: String,
        /// Tool name, made fit for a model API.
        name: String,
        /// A JSON object.
        input: Raw,
    },
    /// What the tool answered.
    ToolResult {
        /// The provider's id of the call.
        id: String,
        /// Content blocks.
        content: Vec<Block>,
        /// Whether it failed.
        is_error: bool,
    },
    /// From here on the model saw this instead of what came before.
    Compacted(String),
}

/// A part of a conversation, in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// When.
    pub at: Option<Timestamp>,
    /// Parts of one model message have the same one.
    pub message: Option<String>,
    /// Tokens of that message, on its last part.
    pub usage: Usage,
    /// What.
    pub heard: Heard,
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// Its id there.
    pub id: String,
    /// Its title there.
    pub title: Option<String>,
    /// The model that spoke last.
    pub model: Option<String>,
    /// In order.
    pub parts: Vec<Part>,
    /// Lines, and blocks of lines, that were not understood.
    pub unread: u64,
}

/// Reads a transcript.
#[derive(Debug)]
pub enum Reader {
    /// Of Claude Code.
    ClaudeCode(ClaudeCode),
    /// Of Codex.
    Codex(Codex),
}

impl Reader {
    /// An empty one.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        match origin {
            Origin::ClaudeCode => Self::ClaudeCode(ClaudeCode::default()),
            Origin::Codex => Self::Codex(Codex::default()),
        }
    }

    /// Takes a line.
    pub fn line(&mut self, line: &str) {
        match self {
            Self::ClaudeCode(reader) => reader.line(line),
            Self::Codex(reader) => reader.line(line),
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn transcript(self) -> Transcript {
        match self {
            Self::ClaudeCode(reader) => reader.transcript(),
            Self::Codex(reader) => reader.transcript(),
        }
    }
}

/// Model APIs take tool names of these characters only. Tools that were ours come back under our names.
fn tool_name(name: &str) -> String {
    let name = name.strip_prefix("mcp__router__").unwrap_or(name);
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().take(64).map(fit).collect();
    if name.is_empty() { "unnamed".into() } else { name }
}

/// Tool inputs are objects; what is none is wrapped.
fn tool_input(value: &Value) -> Raw {
    match &clean(value) {
        object @ Value::Object(_) => Raw::of(object),
        Value::Null => Raw::of(&serde_json::json!({})),
        other => Raw::of(&serde_json::json!({"input": other})),
    }
}

/// Nested no deeper than the parser lets it be.
fn clean(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(safe(text)),
        Value::Array(items) => items.iter().map(clean).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (safe(key), clean(value))).collect(),
        other => other.clone(),
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    Some(time.to_utc().into())
}

/// Text columns of some databases cannot hold a NUL.
fn safe(text: &str) -> String {
    crate::text::sanitize(text.as_bytes())
}

#[cfg(test)]
mod tests;
