//! `GET /v1/agents/{id}/versions`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::agent_id;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut};
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;

#[utoipa::path(get, path = "/v1/agents/{agent_id}/versions", tag = "agents",
    params(("agent_id" = String, Path), doc::PageParams),
    responses((status = 200, description = "Newest first", body = doc::AgentPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_agent_versions(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let agent = agent_id(&id)?;
    let accounts = &app.ports.accounts;
    if accounts.agent(principal.workspace, agent, None).await?.is_none() {
        return Err(ApiError::not_found("agent", &id));
    }
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let binding = Binding::new("agent_versions", agent, false);
    let before = binding.read(&query)?.and_then(|position| position.parse().ok());
    let mut data = accounts
        .agent_versions(principal.workspace, agent, before, limit + 1)
        .await?;
    let more = cut(&mut data, limit);
    let next_page = data
        .last()
        .filter(|_| more)
        .map(|last| binding.write(&last.snapshot.version.to_string()));
    Ok(json(&Page { data, next_page }))
}
