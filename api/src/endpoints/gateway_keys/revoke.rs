//! `DELETE /v1/gateway_keys/{id}`: it opens nothing from now on; the row stays for a while, because traces name it.

use axum::extract::State;
use axum::response::Response;

use super::key_id;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/gateway_keys/{key_id}", tag = "gateway_keys", params(("key_id" = String, Path)),
    responses((status = 200, description = "Revoked", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn revoke_gateway_key(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let revoked = app.ports.metering.revoke(principal.workspace, key_id(&id)?).await?;
    if let (Some(gateway), Some(key)) = (&app.config.gateway, &revoked) {
        // Other processes believe it for a few seconds more.
        gateway.forget(key.id);
    }
    if revoked.is_none() {
        return Err(ApiError::not_found("gateway key", &id));
    }
    Ok(json(&Deleted {
        id,
        kind: "gateway_key_deleted",
    }))
}
