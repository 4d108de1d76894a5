//! The neutral conversation a model is shown. Each provider adapter maps it to its own wire form.

use perennial_schema::EventId;
use perennial_schema::event::{Native, Raw};

/// One message. Roles alternate, the first is the user's, and every tool use has exactly one result in the next message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// In order. Never empty.
    pub parts: Vec<MessagePart>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// People, and tool results.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessagePart {
    /// Plain text of ours or the model's.
    Text(String),
    /// One content block as a client sent it ([`perennial_schema::content::Block`] shape, verbatim).
    Content(Raw),
    /// A provider's own block (thinking): sent to that provider byte for byte, left out for any other.
    Native(Native),
    /// The model's tool call.
    ToolUse {
        /// Our id.
        id: EventId,
        /// The provider's id; adapters fall back to our id when absent or when another provider made it.
        native_id: Option<String>,
        /// Tool name.
        name: String,
        /// JSON object.
        input: Raw,
    },
    /// What a tool answered.
    ToolResult {
        /// Our id of the call.
        id: EventId,
        /// The provider's id of the call.
        native_id: Option<String>,
        /// Content blocks, a JSON array.
        content: Raw,
        /// Whether it failed.
        is_error: bool,
    },
}
