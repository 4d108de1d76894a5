//! `POST /v1/mailboxes/{kind}/{name}/messages/{message_id}/cancel`: takes a message back that nobody has had yet.

use axum::extract::State;
use axum::response::Response;

use super::{find, shown};
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::once::Once;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::MessageAt;

#[utoipa::path(post, path = "/v1/mailboxes/{kind}/{name}/messages/{message_id}/cancel", tag = "mail",
    params(("kind" = String, Path), ("name" = String, Path), ("message_id" = String, Path)),
    responses((status = 200, description = "The message", body = doc::Mail),
    (status = 409, description = "Too late", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn cancel_mail(
    State(app): State<App>,
    principal: Principal,
    at: MessageAt,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let message = find(&app, principal, &at).await?;
    let once = Once::of(&app, principal, repeatable.with(&body)).await?;
    if once.earlier.is_none() {
        if !app.ports.mail.cancel(principal.workspace, &message).await? {
            return Err(
                ApiError::conflict("the message is not waiting any more, or is on its way already")
                    .code("message_not_waiting"),
            );
        }
        once.made(&app, at.id.clone()).await?;
    }
    shown(&app, principal, &at).await
}
