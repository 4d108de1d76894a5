//! `POST /v1/environments/{id}`: sessions keep the config they were made with.

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::environment::Update;

#[utoipa::path(post, path = "/v1/environments/{environment_id}", tag = "environments",
    params(("environment_id" = String, Path)), request_body = doc::EnvironmentUpdate,
    responses((status = 200, description = "The environment", body = doc::Environment),
    (status = 409, description = "The name is taken", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_environment(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    // Setting the same fields again changes nothing but the time.
    _repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Update = body.parse()?;
    let environment = find(&app, principal, &id).await?;
    if environment.archived_at.is_some() {
        return Err(
            ApiError::bad_request("the environment is archived and takes no more changes").code("environment_archived"),
        );
    }
    let next = input.apply(environment, app.ports.clock.now())?;
    let put = app.ports.accounts.put_environment(principal.workspace, next).await?;
    put.map(|environment| json(&environment))
        .ok_or_else(|| ApiError::not_found("environment", &id))
}
