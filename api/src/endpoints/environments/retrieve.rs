//! `GET /v1/environments/{id}`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::environment::Environment;

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::environment_id;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;

#[utoipa::path(get, path = "/v1/environments/{environment_id}", tag = "environments",
    params(("environment_id" = String, Path)),
    responses((status = 200, description = "The environment", body = doc::Environment),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_environment(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&find(&app, principal, &id).await?))
}

/// The environment, or 404.
pub(crate) async fn find(app: &App, principal: Principal, id: &str) -> Result<Environment, ApiError> {
    let found = app
        .ports
        .accounts
        .environment(principal.workspace, environment_id(id)?)
        .await?;
    found.ok_or_else(|| ApiError::not_found("environment", id))
}
