//! `POST /v1/environments/{id}`: sessions keep the config they were made with.

use axum::extract::State;
use axum::response::Response;

use super::{find, known_executor};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::executors::attachments;
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
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Update = body.parse()?;
    let environment = find(&app, principal, &id).await?;
    let (idempotency, at) = (repeatable.with(&body), app.ports.clock.now());
    let accounts = &app.ports.accounts;
    if let Some(idempotency) = &idempotency
        && accounts.recalled(principal.workspace, idempotency, at).await?.is_some()
    {
        return Ok(json(&environment));
    }
    if environment.archived_at.is_some() {
        return Err(
            ApiError::bad_request("the environment is archived and takes no more changes").code("environment_archived"),
        );
    }
    let before = environment.config.clone();
    let executors = attachments(&app, principal, "config.executors", input.executors()).await?;
    let next = input.apply(environment, at, executors)?;
    if next.config != before {
        known_executor(&app, principal, &next.config).await?;
    }
    let put = accounts.put_environment(principal.workspace, next, idempotency).await?;
    put.map(|environment| json(&environment))
        .ok_or_else(|| ApiError::not_found("environment", &id))
}
