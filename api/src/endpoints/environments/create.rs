//! `POST /v1/environments`

use axum::extract::State;
use axum::response::Response;
use perennial_schema::EnvironmentId;

use super::known_executor;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::executors::attachments;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::environment::Create;

#[utoipa::path(post, path = "/v1/environments", tag = "environments", request_body = doc::EnvironmentCreate, responses(
    (status = 200, description = "The environment", body = doc::Environment),
    (status = 409, description = "The name is taken", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_environment(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Create = body.parse()?;
    let id = EnvironmentId::from_uuid(app.ports.ids.uuid());
    let executors = attachments(&app, principal, "config.executors", input.executors()).await?;
    let environment = input.into_environment(id, app.ports.clock.now(), executors)?;
    known_executor(&app, principal, &environment.config).await?;
    let accounts = &app.ports.accounts;
    let made = accounts
        .create_environment(principal.workspace, environment, repeatable.with(&body))
        .await?;
    Ok(json(&made.resource))
}
