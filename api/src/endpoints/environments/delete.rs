//! `DELETE /v1/environments/{id}`: sessions keep the config they were made with.

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::environment_id;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/environments/{environment_id}", tag = "environments",
    params(("environment_id" = String, Path)),
    responses((status = 200, description = "Gone", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn delete_environment(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let environment = environment_id(&id)?;
    if !app
        .ports
        .accounts
        .delete_environment(principal.workspace, environment)
        .await?
    {
        return Err(ApiError::not_found("environment", &id));
    }
    Ok(json(&Deleted {
        id,
        kind: "environment_deleted",
    }))
}
