//! Which tools of MCP servers somebody let in, as they were then. What a server says of a tool is read by a model as if it were
//! ours, so a tool that comes to say something else is kept away until somebody has looked (INVARIANTS S25).

use async_trait::async_trait;
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, Timestamp, WorkspaceId};

use super::StoreError;

/// Tools of one server that are remembered in a workspace; further ones are not let in.
pub const MCP_TOOLS_REMEMBERED: usize = 512;

/// A tool that was let in: by its first use, or by somebody since.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedTool {
    /// Id.
    pub id: McpToolId,
    /// Its server.
    pub url: String,
    /// What was approved.
    pub card: McpToolCard,
    /// What its server says now, if that is something else.
    pub changed: Option<McpToolCard>,
    /// Let in at.
    pub approved_at: Timestamp,
}

/// A tool that was not approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is none.
    #[error("there is no such tool")]
    NotFound,
    /// Whoever approved looked at something else than what is there.
    #[error("the tool changed again since: look at it as it is now")]
    Moved,
    /// The store cannot.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Remembers tools. Implementations are cancel-safe: a dropped call has either happened or not.
#[async_trait]
pub trait McpApprovals: Send + Sync {
    /// What a server says of its tools now; only who has just asked it may say so. Those nobody has seen in this workspace are let in, up to [`MCP_TOOLS_REMEMBERED`]; of
    /// others it is remembered how they changed. Answers those that are remembered, in the order of `cards`.
    async fn seen(
        &self,
        workspace: WorkspaceId,
        url: &str,
        cards: &[McpToolCard],
    ) -> Result<Vec<ApprovedTool>, StoreError>;

    /// What is remembered of a server's tools.
    async fn remembered(&self, workspace: WorkspaceId, url: &str) -> Result<Vec<ApprovedTool>, StoreError>;

    /// A tool.
    async fn mcp_tool(&self, workspace: WorkspaceId, id: McpToolId) -> Result<Option<ApprovedTool>, StoreError>;

    /// Tools by id beyond `after`, at most `limit`; of those `only_changed` wait for somebody.
    async fn mcp_tools(
        &self,
        workspace: WorkspaceId,
        only_changed: bool,
        after: Option<McpToolId>,
        limit: u32,
    ) -> Result<Vec<ApprovedTool>, StoreError>;

    /// Lets a tool in as it is now, if that is what has this [hash](McpToolCard::hash). Saying so again changes nothing.
    async fn approve(&self, workspace: WorkspaceId, id: McpToolId, hash: &str) -> Result<ApprovedTool, ApproveError>;
}
