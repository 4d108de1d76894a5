//! `POST /v1/sessions/{id}/archive`: read-only from here on.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{Append, AppendError, Authority, Guard, Projection, SessionPatch};
use perennial_schema::event::{Body, Draft, Empty};

use super::served;
use crate::api::App;
use crate::auth::Principal;
use crate::body::JsonBody;
use crate::endpoints::append;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::path::Id;

#[utoipa::path(post, path = "/v1/sessions/{session_id}/archive", tag = "sessions", params(("session_id" = String, Path)),
    responses((status = 200, description = "Archived; a second time changes nothing", body = doc::Session),
    (status = 400, description = "Still running", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn archive_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    repeatable: Repeatable,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let idempotency = repeatable.with(&body);
    if row.archived_at.is_some() && idempotency.is_none() {
        return Ok(served(&row));
    }
    let over = Draft::new(
        app.ports.ids.event(),
        Body::SessionStatusTerminated(Empty {}),
        app.ports.clock.now(),
    );
    let events = vec![over];
    let projection = Projection {
        patch: SessionPatch {
            archive: true,
            ..SessionPatch::default()
        },
        ..Projection::of(&events)
    };
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        events,
        authority: Authority::Client {
            guards: vec![Guard::NotRunning],
            idempotency,
        },
        projection,
    };
    match append(&app, order).await {
        // It was archived before, by another request.
        Ok(_) | Err(AppendError::Archived) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(served(&app.reread(row.key).await?))
}
