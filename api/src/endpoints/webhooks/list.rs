//! `GET /v1/webhooks`

use axum::extract::State;
use axum::response::Response;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::webhook::WebhookView;

#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "Newest first, all on one page", body = doc::WebhookPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_webhooks(State(app): State<App>, principal: Principal) -> Result<Response, ApiError> {
    let webhooks = app.ports.webhooks.webhooks(principal.workspace).await?;
    let data: Vec<WebhookView> = webhooks.iter().map(|webhook| WebhookView::of(webhook, None)).collect();
    let next_page = None;
    Ok(json(&Page { data, next_page }))
}
