//! A step as the log renders it, for tests that drive a harness without the turn loop.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{ModelStep, Part};

/// What the model said, as a message of the conversation.
#[must_use]
pub fn spoke(step: &ModelStep) -> Message {
    let part = |part: &Part| match part.clone() {
        Part::Thinking { native, .. } => MessagePart::Native(native),
        Part::Text { text, .. } => MessagePart::Text(text),
        Part::ToolUse {
            id,
            native_id,
            name,
            input,
        } => MessagePart::ToolUse {
            id,
            native_id: Some(native_id),
            name,
            input,
        },
    };
    Message {
        role: Role::Assistant,
        parts: step.parts.iter().map(part).collect(),
    }
}
