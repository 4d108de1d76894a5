//! `PUT /v1/executors/{id}/uploads`: the files of a form, each stored in a folder of a machine as it comes. Storing the same files again
//! changes nothing, so it needs no key.

use std::io;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::TryStreamExt as _;
use multer::{Constraints, Field, Multipart, SizeLimit};
use perennial_router::NotStored;
use perennial_schema::stream::MAX_PATH_BYTES;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::{find, tunnels, unopened};
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{FILE_PIECE_BYTES, UPLOAD_FILE_BYTES, UPLOAD_FILES, UPLOADS_AT_ONCE};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;

/// Each has a file on disk while it comes.
static ROOM: Semaphore = Semaphore::const_new(UPLOADS_AT_ONCE);

#[derive(Serialize)]
struct Uploaded<'a> {
    r#type: &'static str,
    executor_id: &'a str,
    files: Vec<Stored>,
}

#[derive(Serialize)]
struct Stored {
    path: String,
    bytes: u64,
}

#[utoipa::path(put, path = "/v1/executors/{executor_id}/uploads", tag = "executors",
    params(("executor_id" = String, Path), ("path" = Option<String>, Query, description =
        "A folder, relative to the one that the executor offers, or absolute and beneath it; made if it is missing")),
    request_body(content = String, content_type = "multipart/form-data",
        description = "At most 500 files of at most 50 MB each; their names are paths in the folder"),
    responses((status = 200, description = "All of them are in their places", body = doc::ExecutorUpload),
    (status = 403, description = "The owner of the machine does not offer that", body = doc::Error),
    (status = 409, description = "The executor is not connected, or could not", body = doc::Error),
    (status = 413, description = "A file is too large, or there are too many; what came before it is stored", body = doc::Error),
    (status = "4XX", description = "Refused; what came before it is stored", body = doc::Error)))]
pub(crate) async fn upload_to_executor(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let folder = match query.one("path") {
        Some(_) => super::files::path(&query)?,
        None => ".".into(),
    };
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default())
        .map_err(|_| ApiError::bad_request("expected a body of type multipart/form-data"))?;
    let tunnels = tunnels(&app)?;
    let executor = find(&app, principal, &id).await?;
    let _room = ROOM
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many uploads are coming in at the moment; try again"))?;
    let body = super::files::received(&app, request.into_body()).map_err(|_| io::ErrorKind::TimedOut);
    let body = Box::pin(body.map_err(io::Error::from));
    let limits = Constraints::new().size_limit(SizeLimit::new().per_field(UPLOAD_FILE_BYTES));
    let mut form = Multipart::with_constraints(body, boundary, limits);
    let mut files: Vec<Stored> = Vec::new();
    while let Some(field) = form.next_field().await.map_err(damaged)? {
        let Some(name) = field.file_name().map(str::to_owned) else {
            continue;
        };
        if files.len() == UPLOAD_FILES {
            return Err(ApiError::too_large(format!(
                "more than {UPLOAD_FILES} files at once; {UPLOAD_FILES} are stored"
            )));
        }
        let path = place(&folder, &name)?;
        let (file, bytes) = spooled(field).await?;
        let pieces = ReaderStream::with_capacity(file, FILE_PIECE_BYTES);
        let stored = tunnels.write_file(principal.workspace, executor.id, (path.clone(), bytes), pieces);
        match stored.await {
            Ok(()) => files.push(Stored { path, bytes }),
            Err(NotStored::NoStream(none)) => return Err(unopened(none)),
            Err(NotStored::Source(error)) => {
                return Err(ApiError::unavailable(format!(
                    "{name}: it could not be kept meanwhile: {error}"
                )));
            }
            Err(NotStored::Failed(message)) => return Err(ApiError::conflict(message).code("file_not_stored")),
        }
    }
    Ok(json(&Uploaded {
        r#type: "executor_upload",
        executor_id: &id,
        files,
    }))
}

/// Where a file of a form goes. The machine follows no way out of its folder either; what could only be meant as one is refused here.
fn place(folder: &str, name: &str) -> Result<String, ApiError> {
    let wrong = |part: &str| matches!(part, "" | "." | ".." | ".git") || part.chars().any(char::is_control);
    if name.split(['/', '\\']).any(wrong) || name.contains('\\') {
        return Err(ApiError::bad_request(format!("{name:?} is no name of a file to store")));
    }
    let path = format!("{}/{name}", folder.trim_end_matches('/'));
    if path.len() > MAX_PATH_BYTES {
        return Err(ApiError::bad_request(format!(
            "a path is longer than {MAX_PATH_BYTES} bytes"
        )));
    }
    Ok(path)
}

/// The file on our disk, without a name there, and its length: a form tells it only at its end.
async fn spooled(mut field: Field<'_>) -> Result<(File, u64), ApiError> {
    let kept = |error: io::Error| ApiError::unavailable(format!("the file could not be kept meanwhile: {error}"));
    let mut file = File::from_std(tempfile::tempfile().map_err(kept)?);
    let mut bytes = 0;
    while let Some(piece) = field.chunk().await.map_err(damaged)? {
        file.write_all(&piece).await.map_err(kept)?;
        bytes += piece.len() as u64;
    }
    file.flush().await.map_err(kept)?;
    file.rewind().await.map_err(kept)?;
    Ok((file, bytes))
}

fn damaged(error: multer::Error) -> ApiError {
    match error {
        multer::Error::FieldSizeExceeded { .. } => {
            ApiError::too_large(format!("a file is larger than {UPLOAD_FILE_BYTES} bytes"))
        }
        error => ApiError::bad_request(format!("the form is damaged: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_in_the_folder() {
        for (folder, name, path) in [
            (".", "a.txt", "./a.txt"),
            ("in/", "deep/a b.txt", "in/deep/a b.txt"),
            ("/srv", "-rf", "/srv/-rf"),
            (".", "...", "./..."),
        ] {
            assert_eq!(place(folder, name).ok().as_deref(), Some(path), "{name:?}");
        }
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "C:\\x",
            "..\\x",
            "a\0b",
            "a\nb",
            ".git/hooks/x",
            "a/.git/config",
        ] {
            assert!(place(".", name).is_err(), "{name:?}");
        }
        assert!(place(".", &"n".repeat(MAX_PATH_BYTES)).is_err());
    }
}
