//! The tools without a disk: the same rules over a map behind a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{ApproveError, ApprovedTool, Clock, McpApprovals, StoreError};
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, WorkspaceId};

use super::{News, news, settled};

/// Forgets with the process.
pub struct Memory {
    clock: Arc<dyn Clock>,
    tools: Mutex<BTreeMap<(WorkspaceId, McpToolId), ApprovedTool>>,
}

impl Memory {
    /// With nothing seen yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            tools: Mutex::default(),
        }
    }

    fn tools(&self) -> MutexGuard<'_, BTreeMap<(WorkspaceId, McpToolId), ApprovedTool>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl McpApprovals for Memory {
    async fn seen(
        &self,
        workspace: WorkspaceId,
        url: &str,
        cards: &[McpToolCard],
    ) -> Result<Vec<ApprovedTool>, StoreError> {
        let mut tools = self.tools();
        let known = tools
            .iter()
            .filter(|((of, _), tool)| *of == workspace && tool.url == url)
            .map(|((_, id), tool)| (*id, tool.clone()))
            .collect();
        for what in news(workspace, url, cards, &known) {
            match what {
                News::First(card) => {
                    let tool = ApprovedTool {
                        id: card.id(workspace, url),
                        url: url.to_owned(),
                        card,
                        changed: None,
                        approved_at: self.clock.now(),
                    };
                    tools.insert((workspace, tool.id), tool);
                }
                News::Now(id, changed) => {
                    if let Some(tool) = tools.get_mut(&(workspace, id)) {
                        tool.changed = changed;
                    }
                }
            }
        }
        let asked = cards.iter().map(|card| (workspace, card.id(workspace, url)));
        Ok(asked.filter_map(|key| tools.get(&key).cloned()).collect())
    }

    async fn remembered(&self, workspace: WorkspaceId, url: &str) -> Result<Vec<ApprovedTool>, StoreError> {
        let tools = self.tools();
        let found = tools
            .iter()
            .filter(|((of, _), tool)| *of == workspace && tool.url == url);
        Ok(found.map(|(_, tool)| tool.clone()).collect())
    }

    async fn mcp_tool(&self, workspace: WorkspaceId, id: McpToolId) -> Result<Option<ApprovedTool>, StoreError> {
        Ok(self.tools().get(&(workspace, id)).cloned())
    }

    async fn mcp_tools(
        &self,
        workspace: WorkspaceId,
        only_changed: bool,
        after: Option<McpToolId>,
        limit: u32,
    ) -> Result<Vec<ApprovedTool>, StoreError> {
        let tools = self.tools();
        let found = tools.iter().filter(|((of, id), tool)| {
            *of == workspace && after.is_none_or(|after| *id > after) && (!only_changed || tool.changed.is_some())
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.map(|(_, tool)| tool.clone()).take(limit).collect())
    }

    async fn approve(&self, workspace: WorkspaceId, id: McpToolId, hash: &str) -> Result<ApprovedTool, ApproveError> {
        let mut tools = self.tools();
        let tool = tools.get_mut(&(workspace, id));
        if !settled(tool.as_deref(), hash)?
            && let Some(tool) = tool
        {
            tool.card = tool.changed.take().unwrap_or_else(|| tool.card.clone());
            tool.approved_at = self.clock.now();
            return Ok(tool.clone());
        }
        tools.get(&(workspace, id)).cloned().ok_or(ApproveError::NotFound)
    }
}
