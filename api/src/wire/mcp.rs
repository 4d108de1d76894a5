//! Tools of MCP servers, as people look at them.

use perennial_engine::ports::ApprovedTool;
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, Timestamp};
use serde::{Deserialize, Serialize};

/// A tool.
#[derive(Serialize)]
pub(crate) struct McpToolView {
    #[serde(rename = "type")]
    kind: &'static str,
    id: McpToolId,
    url: String,
    name: String,
    state: &'static str,
    approved: CardView,
    approved_at: Timestamp,
    changed: Option<CardView>,
}

/// What a server says of it.
#[derive(Serialize)]
struct CardView {
    hash: String,
    description: String,
    input_schema: serde_json::Value,
    annotations: Option<serde_json::Value>,
}

impl From<McpToolCard> for CardView {
    fn from(card: McpToolCard) -> Self {
        Self {
            hash: card.hash(),
            description: card.description,
            input_schema: card.input_schema,
            annotations: card.annotations,
        }
    }
}

impl From<ApprovedTool> for McpToolView {
    fn from(tool: ApprovedTool) -> Self {
        Self {
            kind: "mcp_tool",
            id: tool.id,
            url: tool.url,
            name: tool.card.name.clone(),
            state: if tool.changed.is_some() { "changed" } else { "approved" },
            approved: tool.card.into(),
            approved_at: tool.approved_at,
            changed: tool.changed.map(CardView::from),
        }
    }
}

/// `PATCH /v1/mcp_tools/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    pub(crate) approved_hash: String,
}
