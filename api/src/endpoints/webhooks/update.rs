//! `POST /v1/webhooks/{id}`: also turns one off, and on again: what waits is then sent, what happened meanwhile is not told.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::limits::METADATA_VALUE_CHARS;

use super::{check_events, check_url, find};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::limits::WEBHOOK_TRIES;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::length;
use crate::wire::webhook::{Update, WebhookView};

/// Why one is off that somebody turned off.
const TURNED_OFF: &str = "turned off";

#[utoipa::path(post, path = "/v1/webhooks/{webhook_id}", tag = "webhooks", params(("webhook_id" = String, Path)),
    request_body = doc::WebhookUpdate, responses((status = 200, description = "The webhook", body = doc::Webhook),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn update_webhook(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Update = body.parse()?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    if once.earlier.is_some() {
        return Ok(json(&WebhookView::of(&find(&app, principal, &id).await?, None)));
    }
    if let Some(url) = &input.url {
        check_url(&app, url)?;
    }
    check_events(input.events.as_deref().unwrap_or_default())?;
    length(
        "description",
        input.description.as_deref().unwrap_or_default(),
        0,
        METADATA_VALUE_CHARS,
    )?;
    for _ in 0..WEBHOOK_TRIES {
        let mut webhook = find(&app, principal, &id).await?;
        let (seen, now) = (webhook.revision, app.ports.clock.now());
        webhook.url = input.url.clone().unwrap_or(webhook.url);
        webhook.events = input.events.clone().unwrap_or(webhook.events);
        webhook.description = input.description.clone().unwrap_or(webhook.description);
        match input.enabled {
            Some(true) => webhook.enable(now),
            Some(false) => webhook.disable(TURNED_OFF, now),
            None => {}
        }
        webhook.updated_at = now;
        if app.ports.webhooks.swap(seen, &webhook).await? {
            once.made(&app, id).await?;
            return Ok(json(&WebhookView::of(&webhook, None)));
        }
    }
    Err(ApiError::unavailable(
        "others change this webhook all the time; try again",
    ))
}
