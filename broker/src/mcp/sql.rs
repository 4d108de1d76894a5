//! The tools in an SQL table, on either database.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{ApproveError, ApprovedTool, McpApprovals, StoreError};
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, WorkspaceId};

use super::{News, news, settled, words};
use crate::executors::{Postgres, Sqlite};
use crate::log::{postgres, sqlite};
use crate::sql::{Desk, Statement};

/// The tools in the embedded database, beside the sessions of this store.
#[must_use]
pub fn embedded(store: sqlite::Sqlite) -> Arc<dyn McpApprovals> {
    Arc::new(Sql {
        desk: Sqlite::new(store),
    })
}

/// The tools in the shared database, beside the sessions of this store.
#[must_use]
pub fn shared(store: &postgres::Postgres) -> Arc<dyn McpApprovals> {
    Arc::new(Sql {
        desk: Postgres::new(store),
    })
}

struct Sql<D> {
    desk: D,
}

impl<D: Desk> Sql<D> {
    async fn found(&self, asked: Statement) -> Result<Vec<ApprovedTool>, StoreError> {
        self.desk.asked(asked).await?.iter().map(words::tool_of).collect()
    }

    async fn of_server(
        &self,
        workspace: WorkspaceId,
        url: &str,
    ) -> Result<BTreeMap<McpToolId, ApprovedTool>, StoreError> {
        let found = self.found(words::of_server(workspace, url)).await?;
        Ok(found.into_iter().map(|tool| (tool.id, tool)).collect())
    }
}

#[async_trait]
impl<D: Desk> McpApprovals for Sql<D> {
    async fn seen(
        &self,
        workspace: WorkspaceId,
        url: &str,
        cards: &[McpToolCard],
    ) -> Result<Vec<ApprovedTool>, StoreError> {
        let mut known = self.of_server(workspace, url).await?;
        let news = news(workspace, url, cards, &known);
        let changes = !news.is_empty();
        for what in news {
            let asked = match what {
                News::First(card) => words::first(workspace, url, &card)?,
                News::Now(id, changed) => words::now(workspace, id, changed.as_ref())?,
            };
            self.desk.asked(asked).await?;
        }
        if changes {
            known = self.of_server(workspace, url).await?;
        }
        let ids = cards.iter().map(|card| card.id(workspace, url));
        Ok(ids.filter_map(|id| known.get(&id).cloned()).collect())
    }

    async fn remembered(&self, workspace: WorkspaceId, url: &str) -> Result<Vec<ApprovedTool>, StoreError> {
        self.found(words::of_server(workspace, url)).await
    }

    async fn mcp_tool(&self, workspace: WorkspaceId, id: McpToolId) -> Result<Option<ApprovedTool>, StoreError> {
        Ok(self.found(words::one(workspace, id)).await?.pop())
    }

    async fn mcp_tools(
        &self,
        workspace: WorkspaceId,
        only_changed: bool,
        after: Option<McpToolId>,
        limit: u32,
    ) -> Result<Vec<ApprovedTool>, StoreError> {
        self.found(words::all(workspace, only_changed, after, limit)).await
    }

    async fn approve(&self, workspace: WorkspaceId, id: McpToolId, hash: &str) -> Result<ApprovedTool, ApproveError> {
        let tool = self.mcp_tool(workspace, id).await?;
        let done = settled(tool.as_ref(), hash)?;
        let tool = tool.ok_or(ApproveError::NotFound)?;
        let Some(changed) = tool.changed.as_ref().filter(|_| !done) else {
            return Ok(tool);
        };
        let approved = self.found(words::approve(workspace, id, changed)?).await?.pop();
        approved.ok_or(ApproveError::Moved)
    }
}
