//! `DELETE /v1/environments/{id}/keys/{id}`: it opens nothing from the next request on, and neither do the tokens of the work that
//! was handed out to it.

use axum::extract::State;
use axum::response::Response;

use super::self_hosted;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::OfEnvironment;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/environments/{environment_id}/keys/{key_id}", tag = "environments",
    params(("environment_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 200, description = "Ended", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn end_environment_key(
    State(app): State<App>,
    principal: Principal,
    at: OfEnvironment,
) -> Result<Response, ApiError> {
    let environment = self_hosted(&app, principal, &at.environment).await?;
    let missing = || ApiError::not_found("key of this environment", &at.id);
    let key = at.id.parse().map_err(|_| missing())?;
    let accounts = &app.ports.accounts;
    if !accounts
        .end_environment_key(principal.workspace, environment.id, key)
        .await?
    {
        return Err(missing());
    }
    Ok(json(&Deleted {
        id: at.id,
        kind: "environment_key_deleted",
    }))
}
