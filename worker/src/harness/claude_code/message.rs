//! What the log's next message is to a live process: results that MCP can carry without a change, or a prompt.

use perennial_engine::kernel::{Message, MessagePart};
use perennial_router::mcp;
use perennial_schema::EventId;
use perennial_schema::content::Block;
use perennial_schema::event::Raw;
use perennial_schema::tool::Outcome;

use crate::harness::held::{self, Answers};
use crate::model::anthropic::body::NO_OUTPUT;

/// The message's answers to exactly these calls (our id and the model's).
pub(super) fn answers(calls: &[(EventId, String)], message: &Message) -> Option<Answers> {
    held::answers(calls, message, outcome)
}

fn outcome(content: &Raw, is_error: bool) -> Option<Outcome> {
    let mut blocks: Vec<Block> = content.parse().ok()?;
    // A member that our blocks do not know would be lost on the way.
    if Raw::of(&blocks).parse::<serde_json::Value>().ok()? != content.parse::<serde_json::Value>().ok()? {
        return None;
    }
    // As it would be rendered: blank texts are refused by the provider.
    blocks.retain(|block| !matches!(block, Block::Text { text } if text.trim().is_empty()));
    if blocks.is_empty() {
        blocks.push(Block::text(NO_OUTPUT));
    }
    let outcome = Outcome {
        content: blocks,
        is_error,
        whole: None,
        exit_code: None,
    };
    mcp::carries(&outcome).then_some(outcome)
}

/// Whether a message is a prompt and nothing else.
pub(super) fn is_prompt(message: &Message) -> bool {
    message
        .parts
        .iter()
        .all(|part| matches!(part, MessagePart::Text(_) | MessagePart::Content(_)))
}
