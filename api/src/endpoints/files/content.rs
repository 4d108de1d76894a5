//! `GET /v1/files/{id}/content`: byte for byte, and never as a page of ours.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::path::Id;

#[utoipa::path(get, path = "/v1/files/{file_id}/content", tag = "files", params(("file_id" = String, Path)),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream"),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn read_file(State(app): State<App>, principal: Principal, Id(id): Id) -> Result<Response, ApiError> {
    let file = find(&app, principal, &id).await?;
    let blob = app.ports.blobs.get(principal.workspace, &file.sha256).await?;
    let bytes = blob.ok_or_else(|| ApiError::not_found("file", &id))?;
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}
