//! `GET /v1/sessions/{id}/events/stream`: server-sent events, live and resumable.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use perennial_schema::session::Status;
use tokio_util::sync::CancellationToken;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::feed::{Selection, Subscriber};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::server::Shutdown;

/// Event types that have previews.
const PREVIEWS: [&str; 2] = ["agent.message", "agent.thinking"];

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
    let cursor = cursor(&query, &headers)?;
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
    let shutdown = shutdown.map_or_else(CancellationToken::new, |Extension(Shutdown(token))| token);
    let subscriber = Subscriber::new(feed, row.head, after, over_at, selection, shutdown);
    let frames = stream::unfold(subscriber, |mut subscriber| async move {
        let frame = subscriber.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), subscriber))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that would collect frames into blocks.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// `?after=` wins over `Last-Event-ID`: who can set it meant it.
fn cursor(query: &Query, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    if let Some(after) = query.parsed("after", "an event number")? {
        return Ok(Some(after));
    }
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || ApiError::field("Last-Event-ID", "not an id of this stream: they are whole numbers");
    text.parse().map(Some).map_err(|_| refuse())
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
