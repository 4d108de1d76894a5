//! `POST /v1/files`: a form with one file in it, as browsers and the official SDKs send it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use perennial_schema::FileId;
use perennial_schema::file::File;

use super::multipart;
use crate::api::App;
use crate::auth::Principal;
use crate::body::RawBody;
use crate::error::ApiError;
use crate::idempotency::Repeatable;
use crate::openapi as doc;
use crate::respond::json;

#[utoipa::path(post, path = "/v1/files", tag = "files",
    request_body(content = String, content_type = "multipart/form-data", description = "The field `file`, of at most 8 MiB"),
    responses((status = 200, description = "The file", body = doc::File),
    (status = 413, description = "Too large", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn create_file(
    State(app): State<App>,
    principal: Principal,
    repeatable: Repeatable,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, ApiError> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let form = multipart::file(kind, &body.bytes).map_err(|error| ApiError::field("file", error))?;
    // What is kept before it is named is kept once, whatever follows.
    let content = body.bytes.slice(form.content);
    // Two equal files of one client are two files, unless the client says that they are one: boundaries are random.
    let about = format!("{} {} {}", form.filename, form.mime_type, crate::body::sha256(&content));
    let size_bytes = content.len() as u64;
    let sha256 = app.ports.blobs.put(principal.workspace, content).await?;
    let file = File {
        id: FileId::from_uuid(app.ports.ids.uuid()),
        kind: "file".into(),
        filename: form.filename,
        mime_type: form.mime_type,
        size_bytes,
        created_at: app.ports.clock.now(),
        downloadable: true,
        sha256,
    };
    let once = repeatable.hashed(&crate::body::sha256(about.as_bytes()));
    let made = app.ports.accounts.create_file(principal.workspace, file, once).await?;
    Ok(json(&made.resource))
}
