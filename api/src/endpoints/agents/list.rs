//! `GET /v1/agents`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::listing::newest_first;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::Binding;
use crate::query::Query;

#[utoipa::path(get, path = "/v1/agents", tag = "agents",
    params(doc::PageParams, doc::CreatedParams, doc::ArchivedParams),
    responses((status = 200, description = "Newest first", body = doc::AgentPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_agents(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("agents", principal.workspace, false);
    let ask = |listing| app.ports.accounts.agents(principal.workspace, listing);
    newest_first(&query, &binding, ask, |agent| (agent.created_at, agent.snapshot.id)).await
}
