//! `GET /v1/webhooks/{id}`

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::webhook::WebhookView;

#[utoipa::path(get, path = "/v1/webhooks/{webhook_id}", tag = "webhooks", params(("webhook_id" = String, Path)),
    responses((status = 200, description = "The webhook", body = doc::Webhook),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_webhook(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json(&WebhookView::of(&find(&app, principal, &id).await?, None)))
}
