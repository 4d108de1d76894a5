//! Words about tools: effect classes, policies, the built-in toolset and its input shapes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What may be done with a call whose outcome is unknown (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing: send again freely.
    Read,
    /// Running twice is like running once: send again with the same id.
    Idempotent,
    /// Never run again by itself. Shell, and anything undeclared.
    Once,
}

/// What happens when a tool is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Policy {
    /// Runs at once.
    AlwaysAllow,
    /// Waits for a person.
    AlwaysAsk,
    /// The server decides (here: like `always_allow` where hands are contained, else `always_ask`).
    Auto,
    /// Never runs.
    Deny,
}

/// A built-in tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Shell.
    Bash,
    /// Read a file.
    Read,
    /// Write a file.
    Write,
    /// Replace text in a file.
    Edit,
    /// Find files by name.
    Glob,
    /// Find text in files.
    Grep,
}

impl Builtin {
    /// All of them, in the order in which they are offered to a model.
    pub const ALL: [Self; 6] = [Self::Bash, Self::Read, Self::Write, Self::Edit, Self::Glob, Self::Grep];

    /// The tool's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Glob => "glob",
            Self::Grep => "grep",
        }
    }

    /// The tool of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Its effect class. `edit` is `once`: a second run finds the text already replaced and reports a failure that never was.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Bash | Self::Edit => Effect::Once,
            Self::Write => Effect::Idempotent,
            Self::Read | Self::Glob | Self::Grep => Effect::Read,
        }
    }

    /// Whether it can change the host: these ask when nothing contains them (DESIGN §8).
    #[must_use]
    pub const fn changes_host(self) -> bool {
        matches!(self, Self::Bash | Self::Write | Self::Edit)
    }

    /// What the model is told about it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Bash => {
                "Runs a command in a persistent bash shell in the workspace folder. Environment and working directory \
                 persist between calls. Set restart to true for a fresh shell. timeout_ms defaults to 120000."
            }
            Self::Read => {
                "Reads a file of the workspace. view_range is [first_line, last_line], 1-based, -1 for the end."
            }
            Self::Write => "Writes a file of the workspace, creating folders as needed and replacing what was there.",
            Self::Edit => {
                "Replaces old_string by new_string in a file of the workspace. old_string must occur exactly once unless \
                 replace_all is true."
            }
            Self::Glob => "Lists files of the workspace whose path matches a glob pattern, newest first.",
            Self::Grep => "Searches files of the workspace for a regular expression; prints path:line:text.",
        }
    }

    /// JSON Schema of its input.
    #[must_use]
    pub fn input_schema(self) -> serde_json::Value {
        let schema = match self {
            Self::Bash => schemars::schema_for!(BashInput),
            Self::Read => schemars::schema_for!(ReadInput),
            Self::Write => schemars::schema_for!(WriteInput),
            Self::Edit => schemars::schema_for!(EditInput),
            Self::Glob => schemars::schema_for!(GlobInput),
            Self::Grep => schemars::schema_for!(GrepInput),
        };
        let mut schema = schema.to_value();
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            object.remove("title");
        }
        schema
    }
}

/// Input of `bash`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BashInput {
    /// The command to run.
    pub command: Option<String>,
    /// Start a fresh shell first.
    pub restart: Option<bool>,
    /// Milliseconds until the command is killed.
    pub timeout_ms: Option<u64>,
}

/// Input of `read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadInput {
    /// Path, relative to the workspace folder or absolute inside it.
    pub file_path: String,
    /// First and last line, 1-based; -1 is the end.
    pub view_range: Option<[i64; 2]>,
}

/// Input of `write`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WriteInput {
    /// Path, relative to the workspace folder or absolute inside it.
    pub file_path: String,
    /// The whole new content.
    pub content: String,
}

/// Input of `edit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EditInput {
    /// Path, relative to the workspace folder or absolute inside it.
    pub file_path: String,
    /// Text to replace.
    pub old_string: String,
    /// Replacement.
    pub new_string: String,
    /// Replace every occurrence.
    pub replace_all: Option<bool>,
}

/// Input of `glob`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GlobInput {
    /// E.g. `**/*.rs`.
    pub pattern: String,
    /// Folder to start in.
    pub path: Option<String>,
}

/// Input of `grep`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrepInput {
    /// A regular expression.
    pub pattern: String,
    /// File or folder to search.
    pub path: Option<String>,
}

/// SHA-256 over tool name and input text, hex: the same call id with other arguments is refused (I5).
#[must_use]
pub fn args_hash(tool: &str, input: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(tool.as_bytes());
    hash.update([0]);
    hash.update(input.as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Text and other content blocks shown to the model, already safe to store.
    pub content: Vec<crate::content::Block>,
    /// Whether the tool failed.
    pub is_error: bool,
    /// There is more than `content` shows, and the executor has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
    /// What a command exited with, where there was one and it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// An output too long for an event; the executor has its bytes until they are stored elsewhere (I16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Bytes the tool wrote.
    pub written: u64,
    /// Bytes that were kept, from the first on; at most [`crate::limits::TOOL_OUTPUT_KEPT_BYTES`].
    pub kept: u64,
}

impl Outcome {
    /// A plain text outcome.
    pub fn text(text: impl Into<String>, is_error: bool) -> Self {
        Self {
            content: vec![crate::content::Block::text(text)],
            is_error,
            whole: None,
            exit_code: None,
        }
    }
}
