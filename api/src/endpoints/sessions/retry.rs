//! `POST /v1/sessions/{id}/retry`: lifts a quarantine.

use axum::extract::State;
use axum::response::Response;

use super::served;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;

#[utoipa::path(post, path = "/v1/sessions/{session_id}/retry", tag = "sessions", params(("session_id" = String, Path)),
    responses((status = 200, description = "Ready again", body = doc::Session),
    (status = 409, description = "Not quarantined", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn retry_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    _repeatable: Repeatable,
    _body: JsonBody,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    if !app.ports.leases.retry(row.key).await? {
        return Err(ApiError::conflict(
            "the session is not quarantined; there is nothing to retry",
        ));
    }
    app.ports.bus.wake();
    Ok(served(&app.reread(row.key).await?))
}
