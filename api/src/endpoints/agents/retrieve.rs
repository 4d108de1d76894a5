//! `GET /v1/agents/{id}`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::agent_id;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;

#[utoipa::path(get, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path), ("version" = Option<u64>, Query, description = "The newest when absent")),
    responses((status = 200, description = "The agent", body = doc::Agent),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_agent(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let version = query.parsed("version", "a version number")?;
    let agent = app
        .ports
        .accounts
        .agent(principal.workspace, agent_id(&id)?, version)
        .await?;
    agent.map(|agent| json(&agent)).ok_or_else(|| match version {
        Some(version) => ApiError::not_found("agent", &format!("{id} version {version}")),
        None => ApiError::not_found("agent", &id),
    })
}
