//! `POST /v1/environments/{id}/keys`: the answer that makes a key is the only one that shows it. A repetition under the same
//! idempotency key finds the key and has nothing to show.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::KeyId;
use perennial_schema::limits::METADATA_VALUE_CHARS;

use super::self_hosted;
use crate::accounts::{ENVIRONMENT_KEYS, EnvironmentKey, Secret};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::environment_key::{Create, KeyView};
use crate::wire::length;

#[utoipa::path(post, path = "/v1/environments/{environment_id}/keys", tag = "environments",
    params(("environment_id" = String, Path)), request_body = doc::EnvironmentKeyCreate,
    responses((status = 200, description = "The key, with its secret", body = doc::EnvironmentKey),
    (status = 409, description = "There are too many", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_environment_key(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let name = body.parse::<Create>()?.name.unwrap_or_default();
    length("name", &name, 0, METADATA_VALUE_CHARS)?;
    let environment = self_hosted(&app, principal, &id).await?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let key = once
        .earlier
        .as_ref()
        .map_or_else(|| Ok(KeyId::from_uuid(once.id)), |id| id.parse());
    let secret = Secret::environment(key.map_err(|_| ApiError::bug())?);
    let secret = secret.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let accounts = &app.ports.accounts;
    if let Some(there) = accounts.environment_key(secret.id).await?
        && there.environment == environment.id
    {
        return Ok(json(&KeyView::of(&there, None)));
    }
    let key = EnvironmentKey {
        id: secret.id,
        workspace: principal.workspace,
        environment: environment.id,
        name,
        hash: secret.hash(),
        created_at: app.ports.clock.now(),
    };
    if !accounts.add_environment_key(&key).await? {
        return Err(ApiError::conflict(format!(
            "an environment has at most {ENVIRONMENT_KEYS} keys; end one that is not needed"
        )));
    }
    once.made(&app, key.id.to_string()).await?;
    Ok(json(&KeyView::of(&key, Some(secret.expose().to_owned()))))
}
