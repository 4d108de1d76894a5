//! `POST /v1/webhooks/{id}/deliveries/{id}/replay`: sends it again, under the same event id, as if it had never been tried.

use axum::extract::State;
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::DeliveryAt;
use crate::respond::json;
use crate::wire::webhook::DeliveryView;

#[utoipa::path(post, path = "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", tag = "webhooks",
    params(("webhook_id" = String, Path), ("delivery_id" = String, Path)),
    responses((status = 200, description = "The delivery, which is due", body = doc::Delivery),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn replay_delivery(
    State(app): State<App>,
    principal: Principal,
    at: DeliveryAt,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let webhook = find(&app, principal, &at.webhook).await?;
    let missing = || ApiError::not_found("delivery of this webhook", &at.id);
    let (webhooks, id) = (&app.ports.webhooks, at.id.parse().map_err(|_| missing())?);
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let found = webhooks.delivery(principal.workspace, id).await?;
    let found = found
        .filter(|delivery| delivery.webhook == webhook.id)
        .ok_or_else(missing)?;
    if once.earlier.is_some() {
        return Ok(json(&DeliveryView::of(&found)?));
    }
    let due = webhooks.replay(principal.workspace, id).await?.ok_or_else(missing)?;
    once.made(&app, at.id).await?;
    Ok(json(&DeliveryView::of(&due)?))
}
