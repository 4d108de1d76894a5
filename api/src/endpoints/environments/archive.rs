//! `POST /v1/environments/{id}/archive`

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::accounts::Earlier;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::changed_nothing;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;

#[utoipa::path(post, path = "/v1/environments/{environment_id}/archive", tag = "environments",
    params(("environment_id" = String, Path)),
    responses((status = 200, description = "Archived; a second time changes nothing", body = doc::Environment),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn archive_environment(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut environment = find(&app, principal, &id).await?;
    let idempotency = repeatable.with(&body);
    if environment.archived_at.is_some() {
        changed_nothing(&app, principal, idempotency, Earlier::environment(environment.id)).await?;
        return Ok(json(&environment));
    }
    let at = app.ports.clock.now();
    environment.archived_at = Some(at);
    environment.updated_at = at;
    let put = app
        .ports
        .accounts
        .put_environment(principal.workspace, environment, idempotency)
        .await?;
    put.map(|environment| json(&environment))
        .ok_or_else(|| ApiError::not_found("environment", &id))
}
