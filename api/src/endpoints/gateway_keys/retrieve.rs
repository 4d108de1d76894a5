//! `GET /v1/gateway_keys/{id}`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::GatewayKey;
use perennial_schema::GatewayKeyId;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::meter::KeyView;

#[utoipa::path(get, path = "/v1/gateway_keys/{key_id}", tag = "gateway_keys", params(("key_id" = String, Path)),
    responses((status = 200, description = "The key", body = doc::GatewayKey),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_gateway_key(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&KeyView::of(find(&app, principal, &id).await?, None)))
}

/// The key, or 404.
pub(crate) async fn find(app: &App, principal: Principal, id: &str) -> Result<GatewayKey, ApiError> {
    let found = app.ports.metering.key(key_id(id)?).await?;
    found
        .filter(|key| key.workspace == principal.workspace)
        .ok_or_else(|| ApiError::not_found("gateway key", id))
}

/// A virtual key's id in a path.
pub(crate) fn key_id(text: &str) -> Result<GatewayKeyId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("gateway key", text))
}
