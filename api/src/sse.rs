//! What every event stream does alike: where a client left off, and how the answer is marked.

use std::convert::Infallible;
use std::str::FromStr;

use axum::Extension;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::query::Query;
use crate::server::Shutdown;

/// Where a client wants to go on. `?after=` wins over `Last-Event-ID`: who can set it meant it.
///
/// # Errors
/// 400 when it is no `expected`.
pub(crate) fn resume<T: FromStr>(query: &Query, headers: &HeaderMap, expected: &str) -> Result<Option<T>, ApiError> {
    if let Some(after) = query.parsed("after", expected)? {
        return Ok(Some(after));
    }
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let place = text.parse().map(Some);
    place.map_err(|_| ApiError::field("Last-Event-ID", format!("not {expected}")))
}

/// Cancelled when this server winds down; never, where it is called without a listener.
pub(crate) fn closing(shutdown: Option<Extension<Shutdown>>) -> CancellationToken {
    shutdown.map_or_else(CancellationToken::new, |Extension(Shutdown(token))| token)
}

/// Frames as an answer.
pub(crate) fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(frames.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that would collect frames into blocks.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
