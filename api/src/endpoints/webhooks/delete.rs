//! `DELETE /v1/webhooks/{id}`: with everything it was still to be told.

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/webhooks/{webhook_id}", tag = "webhooks", params(("webhook_id" = String, Path)),
    responses((status = 200, description = "Gone", body = doc::Deleted),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn delete_webhook(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let webhook = find(&app, principal, &id).await?;
    app.ports.webhooks.remove(principal.workspace, webhook.id).await?;
    Ok(json(&Deleted {
        id,
        kind: "webhook_deleted",
    }))
}
