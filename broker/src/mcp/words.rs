//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use perennial_engine::ports::{ApprovedTool, StoreError};
use perennial_schema::mcp::McpToolCard;
use perennial_schema::{McpToolId, WorkspaceId};

use crate::sql::{Columns, Statement, inconsistent, statement};

const COLUMNS: &str = "id, url, card, changed, approved_at";

fn chosen(workspace: WorkspaceId) -> Statement {
    statement(format!("SELECT {COLUMNS} FROM mcp_tools WHERE workspace_id = ?")).id(workspace.uuid())
}

pub(super) fn of_server(workspace: WorkspaceId, url: &str) -> Statement {
    chosen(workspace).sql(" AND url = ?").text(url)
}

pub(super) fn one(workspace: WorkspaceId, id: McpToolId) -> Statement {
    chosen(workspace).sql(" AND id = ?").id(id.uuid())
}

pub(super) fn all(workspace: WorkspaceId, only_changed: bool, after: Option<McpToolId>, limit: u32) -> Statement {
    let asked = chosen(workspace);
    let asked = match after {
        Some(after) => asked.sql(" AND id > ?").id(after.uuid()),
        None => asked,
    };
    let changed = if only_changed { " AND changed IS NOT NULL" } else { "" };
    asked.sql(changed).sql(" ORDER BY id LIMIT ?").amount(limit.into())
}

/// Nothing if somebody else has let it in meanwhile.
pub(super) fn first(workspace: WorkspaceId, url: &str, card: &McpToolCard) -> Result<Statement, StoreError> {
    Ok(statement(
        "INSERT INTO mcp_tools (approved_at, workspace_id, id, url, card) VALUES (:now, ?, ?, ?, ?)
         ON CONFLICT (workspace_id, id) DO NOTHING RETURNING id",
    )
    .id(workspace.uuid())
    .id(card.id(workspace, url).uuid())
    .text(url)
    .text(&text(card)?))
}

pub(super) fn now(
    workspace: WorkspaceId,
    id: McpToolId,
    changed: Option<&McpToolCard>,
) -> Result<Statement, StoreError> {
    let changed = changed.map(text).transpose()?;
    Ok(statement("UPDATE mcp_tools SET changed = ?")
        .maybe_text(changed.as_deref())
        .sql(" WHERE workspace_id = ? AND id = ? RETURNING id")
        .id(workspace.uuid())
        .id(id.uuid()))
}

/// Nothing if it is not there any more as it was looked at.
pub(super) fn approve(workspace: WorkspaceId, id: McpToolId, changed: &McpToolCard) -> Result<Statement, StoreError> {
    Ok(statement(
        "UPDATE mcp_tools SET card = changed, changed = NULL, approved_at = :now WHERE workspace_id = ? AND id = ?",
    )
    .id(workspace.uuid())
    .id(id.uuid())
    .sql(" AND changed = ?")
    .text(&text(changed)?)
    .sql(&format!(" RETURNING {COLUMNS}")))
}

fn text(card: &McpToolCard) -> Result<String, StoreError> {
    serde_json::to_string(card).map_err(|error| inconsistent("card", error))
}

pub(super) fn tool_of(row: &impl Columns) -> Result<ApprovedTool, StoreError> {
    let card = |text: String, column| serde_json::from_str(&text).map_err(|error| inconsistent(column, error));
    Ok(ApprovedTool {
        id: McpToolId::from_uuid(row.id("id")?),
        url: row.text("url")?,
        card: card(row.text("card")?, "card")?,
        changed: row
            .maybe_text("changed")?
            .map(|text| card(text, "changed"))
            .transpose()?,
        approved_at: row.time("approved_at")?,
    })
}
