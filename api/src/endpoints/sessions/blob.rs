//! `GET /v1/sessions/{id}/blobs/{sha256}`: what is too long for an event, byte for byte; the event names it.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{BLOB_PIECE_BYTES, BLOBS_AT_ONCE};
use crate::openapi as doc;

/// Each is in memory as a whole until its reader has it.
static ROOM: Semaphore = Semaphore::const_new(BLOBS_AT_ONCE);

#[utoipa::path(get, path = "/v1/sessions/{session_id}/blobs/{sha256}", tag = "sessions",
    params(("session_id" = String, Path), ("sha256" = String, Path, description = "As the event names it")),
    responses((status = 200, description = "The bytes, as they were", content_type = "application/octet-stream"),
    (status = 503, description = "Too many blobs are being read", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn read_blob(
    State(app): State<App>,
    principal: Principal,
    Path((id, sha256)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let row = app.session(&principal, &id).await?;
    let permit = ROOM
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many blobs are being read at the moment; try again"))?;
    let blob = app.ports.blobs.get(row.key.workspace, &sha256).await?;
    let bytes = blob.ok_or_else(|| ApiError::not_found("blob", &sha256))?;
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(pieces(bytes, permit));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    // A tool wrote these bytes: no browser may take them for a page of ours.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}

/// A body that gives its room back when it has been read or dropped.
fn pieces(bytes: Bytes, permit: SemaphorePermit<'static>) -> Body {
    Body::from_stream(stream::unfold((bytes, permit), async |(mut left, permit)| {
        let piece = left.split_to(left.len().min(BLOB_PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, std::convert::Infallible>(piece), (left, permit)))
    }))
}
