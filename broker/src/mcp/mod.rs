//! Tools of MCP servers that were let in, behind the engine's `McpApprovals` port, on the same stores as the sessions.

mod memory;
mod sql;
mod words;

use std::collections::BTreeMap;

use perennial_engine::ports::{ApproveError, ApprovedTool, MCP_TOOLS_REMEMBERED};
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, WorkspaceId};

pub use memory::Memory;
pub use sql::{embedded, shared};

/// What is to be written of a tool as its server shows it.
enum News {
    /// Nobody has seen it.
    First(McpToolCard),
    /// It is not what was approved, or is that again.
    Now(McpToolId, Option<McpToolCard>),
}

/// What a server's tools, as they are now, change in what is remembered of it.
fn news(
    workspace: WorkspaceId,
    url: &str,
    cards: &[McpToolCard],
    known: &BTreeMap<McpToolId, ApprovedTool>,
) -> Vec<News> {
    let mut room = MCP_TOOLS_REMEMBERED.saturating_sub(known.len());
    let mut news = Vec::new();
    for card in cards {
        let id = card.id(workspace, url);
        match known.get(&id) {
            Some(tool) => {
                let changed = (tool.card.hash() != card.hash()).then(|| card.clone());
                if tool.changed.as_ref().map(McpToolCard::hash) != changed.as_ref().map(McpToolCard::hash) {
                    news.push(News::Now(id, changed));
                }
            }
            None if room > 0 => {
                room -= 1;
                news.push(News::First(card.clone()));
            }
            None => {}
        }
    }
    news
}

/// Whether what is there is what somebody looked at; true when nothing is left to do.
fn settled(tool: Option<&ApprovedTool>, hash: &str) -> Result<bool, ApproveError> {
    let tool = tool.ok_or(ApproveError::NotFound)?;
    match &tool.changed {
        Some(changed) if changed.hash() == hash => Ok(false),
        None if tool.card.hash() == hash => Ok(true),
        _ => Err(ApproveError::Moved),
    }
}
