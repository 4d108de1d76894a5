//! `GET /v1/mailboxes/{kind}/{name}/messages/{message_id}`

use axum::extract::State;
use axum::response::Response;

use super::shown;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::MessageAt;

#[utoipa::path(get, path = "/v1/mailboxes/{kind}/{name}/messages/{message_id}", tag = "mail",
    params(("kind" = String, Path), ("name" = String, Path), ("message_id" = String, Path)),
    responses((status = 200, description = "The message", body = doc::Mail),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retrieve_mail(
    State(app): State<App>,
    principal: Principal,
    at: MessageAt,
) -> Result<Response, ApiError> {
    shown(&app, principal, &at).await
}
