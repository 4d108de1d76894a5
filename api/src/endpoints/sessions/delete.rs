//! `DELETE /v1/sessions/{id}`: a tombstone; everything about the session is 404 from here on.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{Append, Authority, Guard, Projection, SessionPatch};
use perennial_schema::event::{Body, Draft, Empty};

use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::append;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;
use crate::respond::json;
use crate::wire::Deleted;

#[utoipa::path(delete, path = "/v1/sessions/{session_id}", tag = "sessions", params(("session_id" = String, Path)),
    responses((status = 200, description = "Gone", body = doc::Deleted),
    (status = 400, description = "Still running", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn delete_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let over = Draft::new(
        app.ports.ids.event(),
        Body::SessionDeleted(Empty {}),
        app.ports.clock.now(),
    );
    let order = Append {
        key: row.key,
        append_id: app.ports.ids.append(),
        events: vec![over],
        authority: Authority::Client {
            guards: vec![Guard::NotRunning],
            idempotency: None,
        },
        projection: Projection {
            ready: perennial_engine::ports::Ready::Never,
            patch: SessionPatch {
                delete: true,
                ..SessionPatch::default()
            },
            ..Projection::default()
        },
    };
    append(&app, order).await?;
    fail::fail_point!("api.delete.after");
    super::budget::forget(&app, row.key).await;
    let router = &app.ports.router;
    router
        .forget(row.key.session, row.place.or(row.environment.executor()))
        .await;
    for attached in &row.agent.executors {
        router.leave(row.key.session, attached.executor_id).await;
    }
    Ok(json(&Deleted {
        id: row.key.session.to_string(),
        kind: "session_deleted",
    }))
}
