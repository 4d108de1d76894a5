//! The file, received into a temporary one: it may be much larger than memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use perennial_schema::transcript::Origin;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::App;
use crate::body::hex;
use crate::error::ApiError;
use crate::limits::{IMPORT_FILE_BYTES, IMPORT_LOOK_BYTES, IMPORT_TOTAL};

/// What it looks like.
pub(super) enum Kind {
    /// Gzipped.
    Archive,
    /// Lines, perhaps of somebody known.
    Lines(Option<Origin>),
}

/// A received file, at its beginning.
pub(super) struct Upload {
    pub(super) content: File,
    pub(super) kind: Kind,
    /// SHA-256 of the bytes and of what was asked with them, hex.
    pub(super) hash: String,
}

/// Receives the body.
pub(super) async fn receive(app: &App, request: Request, asked: &str) -> Result<Upload, ApiError> {
    let too_large = || ApiError::too_large(format!("the file is larger than {IMPORT_FILE_BYTES} bytes"));
    let headers = request.headers();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(
            ApiError::bad_request("content-encoding: send the file as it is").code("request_body_encoding_unsupported")
        );
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > IMPORT_FILE_BYTES)
    {
        return Err(too_large());
    }
    let mut file = tempfile::tempfile().map_err(|error| no_room(&error))?;
    let mut hash = Sha256::new();
    hash.update(asked.as_bytes());
    let deadline = Instant::now() + IMPORT_TOTAL;
    let mut body = request.into_body();
    let mut received = 0;
    loop {
        let frame = timeout_at(deadline, timeout(app.config.limits.body_idle, body.frame())).await;
        let Ok(Ok(frame)) = frame else {
            return Err(ApiError::too_slow("the file did not arrive in time"));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| ApiError::bad_request("the file ended early"))?;
        if let Some(data) = frame.data_ref() {
            received += data.len() as u64;
            if received > IMPORT_FILE_BYTES {
                return Err(too_large());
            }
            hash.update(data);
            // Into the page cache: shorter than a hop to another thread.
            file.write_all(data).map_err(|error| no_room(&error))?;
        }
    }
    file.rewind().map_err(|error| no_room(&error))?;
    let kind = look(&mut file).map_err(|error| no_room(&error))?;
    Ok(Upload {
        content: file,
        kind,
        hash: hex(&hash.finalize()),
    })
}

fn look(file: &mut File) -> io::Result<Kind> {
    let mut begin = Vec::new();
    file.take(IMPORT_LOOK_BYTES).read_to_end(&mut begin)?;
    file.rewind()?;
    if begin.starts_with(&[0x1f, 0x8b]) {
        return Ok(Kind::Archive);
    }
    let begin = String::from_utf8_lossy(&begin);
    Ok(Kind::Lines(begin.lines().find_map(Origin::of_line)))
}

fn no_room(error: &io::Error) -> ApiError {
    ApiError::unavailable(format!("the file cannot be kept while it is read: {error}"))
}
