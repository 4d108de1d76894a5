//! `GET /v1/feed`: all sessions of the workspace as one stream, first as they are, then as they change.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::feed::{Follower, Place};
use crate::openapi as doc;
use crate::query::Query;
use crate::server::Shutdown;
use crate::sse;

/// Ours, and a route of its own: clients of the adopted API never meet its events.
#[utoipa::path(get, path = "/v1/feed", tag = "sessions", params(doc::FeedParams),
    responses((status = 200, description = "`session` events: every session of the workspace, then each one again whenever its \
        summary changes; `session_deleted` when it is gone; `live` once, between what was and what is new. No change is \
        skipped; one may come twice", body = String, content_type = "text/event-stream"),
    (status = 409, description = "The cursor is not of this server's past", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn follow_sessions(
    State(app): State<App>,
    principal: Principal,
    query: Query,
    headers: HeaderMap,
    shutdown: Option<Extension<Shutdown>>,
) -> Result<Response, ApiError> {
    let after: Option<Place> = sse::resume(&query, &headers, "an id of this stream")?;
    if let Some(place) = after {
        known(&app, principal, place).await?;
    }
    let feed = app.hub.join_workspace(principal.workspace);
    let follower = Follower::new(feed, after, app.ports.clock.now(), sse::closing(shutdown));
    Ok(sse::answer(stream::unfold(follower, |mut follower| async move {
        let frame = follower.next().await?;
        Some((frame, follower))
    })))
}

/// A cursor is the place of a session's newest change, or of an older one, which that session or another has passed since. One
/// with nothing there and nothing behind is of another database, or of a future this one has lost: who waits there would wait
/// for ever.
async fn known(app: &App, principal: Principal, place: Place) -> Result<(), ApiError> {
    let sessions = &app.ports.sessions;
    let there = sessions.changes(principal.workspace, place.before(), 1).await?;
    if there.is_empty() {
        return Err(ApiError::conflict(
            "after: this cursor is ahead of all changes of this workspace; connect again without one to get every session",
        ));
    }
    Ok(())
}
