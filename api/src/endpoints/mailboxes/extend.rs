//! `POST /v1/mailboxes/queue/{name}/messages/{message_id}/extend`: whoever received it needs longer.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::Return;

use super::give_back;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::MessageAt;
use crate::wire::mail::Extend;

#[utoipa::path(post, path = "/v1/mailboxes/{kind}/{name}/messages/{message_id}/extend", tag = "mail",
    params(("kind" = String, Path), ("name" = String, Path), ("message_id" = String, Path)),
    request_body = doc::MailExtend,
    responses((status = 200, description = "The message", body = doc::Mail),
    (status = 409, description = "The receipt is stale", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn extend_mail(
    State(app): State<App>,
    principal: Principal,
    at: MessageAt,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    let input: Extend = body.parse()?;
    let what = Return::Extend(input.hidden_millis()?);
    give_back(&app, principal, &at, once, &input.receipt, what).await
}
