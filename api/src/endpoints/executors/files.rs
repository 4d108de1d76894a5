//! `GET` and `PUT /v1/executors/{id}/files?path=`: a file of a machine, fetched and stored; of a folder, what is in it. Bytes pass through piece by piece, as fast
//! as the slower end takes them. Storing the same file again changes nothing, so it needs no key.

use std::io;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use perennial_router::{NoStream, NotStored, Stream as ExecutorStream};
use perennial_schema::folder::Entry;
use perennial_schema::stream::{MAX_FILE_BYTES, MAX_PATH_BYTES, Unopened};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{find, tunnels, unopened};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{FILE_PIECE_BYTES, FILE_TOTAL};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;

#[utoipa::path(get, path = "/v1/executors/{executor_id}/files", tag = "executors",
    params(("executor_id" = String, Path),
        ("path" = String, Query, description = "Relative to the folder that the executor offers, or absolute and beneath it")),
    responses((status = 200, description = "The bytes of the file; of a folder, what is in it by name",
        content((Vec<u8> = "application/octet-stream"), (doc::ExecutorFolder = "application/json"))),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn read_executor_file(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let path = path(&query)?;
    let tunnels = tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let whose = (principal.workspace, executor.id);
    // So a folder is named where one means it; whoever does not know is told what it is.
    let opened = if path.ends_with('/') || path == "." {
        None
    } else {
        match tunnels.read_file(whose.0, whose.1, path.clone()).await {
            Err(NoStream::Refused {
                reason: Unopened::IsFolder,
                ..
            }) => None,
            opened => Some(opened.map_err(unopened)?),
        }
    };
    let Some((bytes, stream)) = opened else {
        let listing = tunnels
            .list_folder(whose.0, whose.1, path.clone())
            .await
            .map_err(unopened)?;
        return Ok(json(&Looked {
            r#type: "executor_folder",
            executor_id: &id,
            path: &path,
            entries: listing.entries,
            truncated: listing.truncated,
        }));
    };
    let mut response = Response::new(Body::from_stream(pieces(stream, bytes)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    // Whoever wrote this file is not us: no browser may take it for a page of ours.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}

#[derive(Serialize)]
struct Looked<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    path: &'a str,
    entries: Vec<Entry>,
    truncated: bool,
}

#[derive(Serialize)]
struct Stored<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    path: &'a str,
    bytes: u64,
}

#[utoipa::path(put, path = "/v1/executors/{executor_id}/files", tag = "executors",
    params(("executor_id" = String, Path), ("path" = String, Query, description = "As above; folders on the way are made")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file, with its length"),
    responses((status = 200, description = "It is in its place, whole", body = doc::ExecutorFile),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected, or could not", body = doc::Error),
    (status = 413, description = "The file is too large", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn write_executor_file(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let path = path(&query)?;
    let bytes = declared(&request)?;
    let tunnels = tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let body = received(&app, request.into_body());
    let stored = tunnels.write_file(principal.workspace, executor.id, (path.clone(), bytes), body);
    match stored.await {
        Ok(()) => Ok(json(&Stored {
            r#type: "executor_file",
            executor_id: &id,
            path: &path,
            bytes,
        })),
        Err(NotStored::NoStream(none)) => Err(unopened(none)),
        Err(NotStored::Source(error)) => Err(error),
        Err(NotStored::Failed(message)) => Err(ApiError::conflict(message).code("file_not_stored")),
    }
}

pub(super) fn path(query: &Query) -> Result<String, ApiError> {
    let path = query.one("path").ok_or_else(|| ApiError::field("path", "is missing"))?;
    if path.len() > MAX_PATH_BYTES {
        return Err(ApiError::field(
            "path",
            format!("is longer than {MAX_PATH_BYTES} bytes"),
        ));
    }
    Ok(path.to_owned())
}

/// A file that ended early would look whole without its length.
fn declared(request: &Request) -> Result<u64, ApiError> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let length: u64 = length.ok_or_else(|| ApiError::bad_request("content-length: say how long the file is"))?;
    if length > MAX_FILE_BYTES {
        return Err(ApiError::too_large(format!(
            "the file is larger than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(length)
}

/// A request's body, which may not dawdle for ever.
pub(super) fn received(app: &App, body: Body) -> impl Stream<Item = Result<Bytes, ApiError>> + Send + use<> {
    let (idle, deadline) = (app.config.limits.body_idle, Instant::now() + FILE_TOTAL);
    stream::try_unfold(body, move |mut body| async move {
        loop {
            let frame = timeout_at(deadline, timeout(idle, body.frame())).await;
            let Ok(Ok(frame)) = frame else {
                return Err(ApiError::too_slow("the file did not arrive in time"));
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| ApiError::bad_request("the file ended early"))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some((data, body)));
            }
        }
    })
}

/// As many bytes, or an error that breaks the answer off: half a file must not look like one.
fn pieces(stream: ExecutorStream, bytes: u64) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((stream, bytes), async |(mut stream, left)| {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = BytesMut::with_capacity(FILE_PIECE_BYTES);
        let most = left.min(FILE_PIECE_BYTES as u64);
        let read = (&mut stream).take(most).read_buf(&mut piece).await? as u64;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok::<_, io::Error>(Some((piece.freeze(), (stream, left - read))))
    })
}
