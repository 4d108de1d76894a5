//! `GET /v1/mcp_tools`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::McpToolId;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::mcp::McpToolView;

#[utoipa::path(get, path = "/v1/mcp_tools", tag = "agents", params(doc::PageParams, doc::McpToolParams),
    responses((status = 200, description = "Tools that a server showed to this workspace, in no order that means anything",
        body = doc::McpToolPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_mcp_tools(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let changed = query.flag("changed")?;
    let binding = Binding::new("mcp_tools", format!("{} {changed}", principal.workspace), true);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let refuse = |_| ApiError::field("page", "not a cursor of this list");
    let after: Option<McpToolId> = binding
        .read(&query)?
        .map(|place| place.parse().map_err(refuse))
        .transpose()?;
    let asked = app.ports.mcp.mcp_tools(principal.workspace, changed, after, limit + 1);
    let mut tools = asked.await?;
    let more = cut(&mut tools, limit);
    let last = tools.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&last.id.to_string()));
    let data: Vec<McpToolView> = tools.into_iter().map(McpToolView::from).collect();
    Ok(json(&Page { data, next_page }))
}
