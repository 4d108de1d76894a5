//! `PATCH /v1/mcp_tools/{id}`: lets a tool in as its server describes it now. Whoever does so names what they looked at, so the same
//! request twice is the same as once, and needs no key.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::ApproveError;
use perennial_schema::McpToolId;

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::mcp::{Approve, McpToolView};

#[utoipa::path(patch, path = "/v1/mcp_tools/{tool_id}", tag = "agents", params(("tool_id" = String, Path)),
    request_body = doc::McpToolApprove,
    responses((status = 200, description = "The tool; sessions have it from their next turn on", body = doc::McpTool),
    (status = 409, description = "It is not described any more as it was looked at", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn approve_mcp_tool(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Approve { approved_hash } = body.parse()?;
    let missing = || ApiError::not_found("MCP tool", &id);
    let tool: McpToolId = id.parse().map_err(|_| missing())?;
    let approved = app.ports.mcp.approve(principal.workspace, tool, &approved_hash).await;
    let approved = approved.map_err(|error| match error {
        ApproveError::NotFound => missing(),
        ApproveError::Moved => ApiError::conflict(format!("approved_hash: {error}")).code("mcp_tool_changed"),
        ApproveError::Store(store) => store.into(),
    })?;
    Ok(json(&McpToolView::from(approved)))
}
