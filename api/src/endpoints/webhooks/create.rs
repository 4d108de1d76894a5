//! `POST /v1/webhooks`: the answer that makes one is the only one that shows its signing secret, which is kept sealed. A repetition
//! under the same idempotency key finds it and has no secret to show.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::Webhook;
use perennial_schema::WebhookId;
use perennial_schema::limits::METADATA_VALUE_CHARS;
use perennial_webhooks::{about, fresh_secret};

use super::{check_events, check_url, find, too_many};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::limits::WEBHOOKS;
use crate::openapi as doc;
use crate::respond::json;
use crate::wire::length;
use crate::wire::webhook::{Create, WebhookView};

#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = doc::WebhookCreate,
    responses((status = 200, description = "The webhook, with its signing secret", body = doc::Webhook),
    (status = 409, description = "There are too many", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_webhook(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let input: Create = body.parse()?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    if let Some(earlier) = &once.earlier {
        return Ok(json(&WebhookView::of(&find(&app, principal, earlier).await?, None)));
    }
    check_url(&app, &input.url)?;
    let events = input.events.unwrap_or_default();
    check_events(&events)?;
    let description = input.description.unwrap_or_default();
    length("description", &description, 0, METADATA_VALUE_CHARS)?;
    let (id, now, secret) = (WebhookId::from_uuid(once.id), app.ports.clock.now(), fresh_secret());
    let sealed = app.ports.seals.seal(&about(principal.workspace, id), &secret);
    let webhook = Webhook {
        id,
        workspace: principal.workspace,
        url: input.url,
        description,
        events,
        secret: sealed.map_err(|_| {
            ApiError::bad_request("this server has no key to keep a signing secret with: set PERENNIAL_SEAL_KEY")
        })?,
        disabled: None,
        since: now,
        failures: 0,
        failing_since: None,
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    if !app.ports.webhooks.add(&webhook, WEBHOOKS).await? {
        // What a lost answer made is there, without a secret to show.
        let there = app
            .ports
            .webhooks
            .webhook(principal.workspace, id)
            .await?
            .ok_or_else(too_many)?;
        return Ok(json(&WebhookView::of(&there, None)));
    }
    once.made(&app, id.to_string()).await?;
    Ok(json(&WebhookView::of(&webhook, Some(secret.expose().to_owned()))))
}
