//! `GET /v1/sessions/{id}/events/stream`: server-sent events, live and resumable.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use perennial_schema::session::Status;

use crate::api::App;
use crate::auth::{Principal, ended};
use crate::error::ApiError;
use crate::feed::{Selection, Subscriber};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::server::Shutdown;
use crate::sse;

/// Event types that have previews.
const PREVIEWS: [&str; 3] = ["agent.message", "agent.thinking", "agent.tool_result"];

#[utoipa::path(get, path = "/v1/sessions/{session_id}/events/stream", tag = "events",
    params(("session_id" = String, Path), doc::StreamParams, doc::IncludeParams),
    responses((status = 200, description = "Events from the cursor on; without one, from now on", body = String, content_type = "text/event-stream"),
    (status = 409, description = "The cursor is ahead of the log", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn stream_events(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    headers: HeaderMap,
    shutdown: Option<Extension<Shutdown>>,
) -> Result<Response, ApiError> {
    let selection = Selection {
        extensions: query.extensions()?,
        previews: previews(&query)?,
    };
    let cursor: Option<u64> = sse::resume(&query, &headers, "an event number of this stream")?;
    let key = app.session(&principal, &id).await?.key;
    // Joined before the head is read, and both before the response begins: no event falls in between.
    let feed = app.hub.join(key);
    let row = app.session(&principal, &id).await?;
    if let Some(after) = cursor.filter(|after| *after > row.head) {
        return Err(ApiError::conflict(format!(
            "after: {after} is ahead of this session's log, which ends at {}; resume from an id this stream gave",
            row.head
        )));
    }
    let over_at = (row.status == Status::Terminated).then_some(row.head);
    let after = cursor.unwrap_or(row.head);
    let subscriber = Subscriber::new(feed, row.head, after, over_at, selection, sse::closing(shutdown));
    let frames = stream::unfold(subscriber, |mut subscriber| async move {
        let frame = subscriber.next().await?;
        Some((frame, subscriber))
    });
    Ok(sse::answer(frames.take_until(Box::pin(ended(app, principal, headers)))))
}

fn previews(query: &Query) -> Result<Vec<&'static str>, ApiError> {
    query
        .many("event_deltas")?
        .into_iter()
        .map(|given| {
            PREVIEWS.into_iter().find(|kind| *kind == given).ok_or_else(|| {
                let given: String = given.chars().take(60).collect();
                ApiError::field(
                    "event_deltas[]",
                    format!("{given:?} has no previews; expected one of {}", PREVIEWS.join(", ")),
                )
            })
        })
        .collect()
}
