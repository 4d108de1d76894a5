//! `GET /v1/environments/{id}/keys`

use axum::extract::State;
use axum::response::Response;

use super::self_hosted;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::environment_key::KeyView;

#[utoipa::path(get, path = "/v1/environments/{environment_id}/keys", tag = "environments",
    params(("environment_id" = String, Path)),
    responses((status = 200, description = "Newest first, all on one page", body = doc::EnvironmentKeyPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_environment_keys(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let environment = self_hosted(&app, principal, &id).await?;
    let keys = app
        .ports
        .accounts
        .environment_keys(principal.workspace, environment.id)
        .await?;
    let data: Vec<KeyView> = keys.iter().map(|key| KeyView::of(key, None)).collect();
    let next_page = None;
    Ok(json(&Page { data, next_page }))
}
