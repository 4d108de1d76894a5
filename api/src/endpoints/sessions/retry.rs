//! `POST /v1/sessions/{id}/retry`: lifts a quarantine.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{Append, Authority, Guard, Projection, Ready};

use super::served;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::append;
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
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        events: Vec::new(),
        authority: Authority::Client {
            guards: vec![Guard::Quarantined],
            idempotency: repeatable.with(&body),
        },
        projection: Projection {
            quarantined: Some(false),
            // Attempts are counted anew, as after a step forward.
            progress: true,
            ready: Ready::Now,
            ..Projection::default()
        },
    };
    append(&app, order).await?;
    Ok(served(&app.reread(row.key).await?))
}
