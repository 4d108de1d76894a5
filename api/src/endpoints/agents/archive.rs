//! `POST /v1/agents/{id}/archive`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::agent_id;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;

#[utoipa::path(post, path = "/v1/agents/{agent_id}/archive", tag = "agents", params(("agent_id" = String, Path)),
    responses((status = 200, description = "Archived; a second time changes nothing", body = doc::Agent),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn archive_agent(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let at = app.ports.clock.now();
    let agent = app
        .ports
        .accounts
        .archive_agent(principal.workspace, agent_id(&id)?, at, repeatable.with(&body))
        .await?;
    agent
        .map(|agent| json(&agent))
        .ok_or_else(|| ApiError::not_found("agent", &id))
}
