//! `GET /v1/sessions/{id}/export`: the whole session as one file, see [`perennial_schema::archive`].
//!
//! The log is read twice: events never change, so the first reading says how long everything is and what its last hash will
//! be, and the second one streams it. What cannot be delivered any more breaks the stream off, never ends it short.

mod tape;
mod workspace;

use std::collections::BTreeSet;
use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::Response;
use futures_util::stream;
use perennial_engine::ports::{ReadFrom, SessionKey, SessionRow};
use perennial_schema::archive::{BLOBS, Chain, EVENTS, FORMAT, Head, MANIFEST, Manifest, SESSION, VERSION, WORKSPACE};
use perennial_schema::event::Record;
use perennial_schema::limits::EVENT_PAGE_MAX;
use tokio::sync::{Semaphore, mpsc};

use self::tape::{Broken, Tape};
use self::workspace::Packed;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::limits::{EXPORTS_AT_ONCE, TAPE_PIECES};
use crate::openapi as doc;
use crate::path::Id;
use crate::query::Query;

/// Each reads a whole log twice.
static ROOM: Semaphore = Semaphore::const_new(EXPORTS_AT_ONCE);

#[utoipa::path(get, path = "/v1/sessions/{session_id}/export", tag = "sessions",
    params(("session_id" = String, Path), doc::ExportParams),
    responses((status = 200, description = "A gzipped tar file; the header `perennial-head-hash` has the hash of its last event",
        content_type = "application/gzip"),
    (status = 409, description = "The workspace folder cannot be packed", body = doc::Error),
    (status = 503, description = "Too many exports at once", body = doc::Error),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn export_session(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let with_workspace = query.parsed("workspace", "true or false")?.unwrap_or(true);
    let row = app.session(&principal, &id).await?;
    let permit = ROOM
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many sessions are being exported at the moment; try again"))?;
    let survey = survey(&app, &row, row.head).await?;
    let packed = match with_workspace {
        true => Packed::make(&app, &row).await?,
        false => None,
    };
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        generator: concat!("perennial/", env!("CARGO_PKG_VERSION")).into(),
        session_id: row.key.session,
        exported_at: app.ports.clock.now(),
        events: row.head,
        head_hash: survey.head_hash.clone(),
        blobs: survey.blobs.len() as u64,
        workspace_bytes: packed.as_ref().map_or(0, |packed| packed.bytes),
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    let name = format!("attachment; filename=\"{}.perennial.tar.gz\"", row.key.session);
    for (header, value) in [
        (CONTENT_DISPOSITION.as_str(), name),
        ("perennial-events", row.head.to_string()),
        ("perennial-head-hash", manifest.head_hash.clone()),
        ("perennial-blobs", manifest.blobs.to_string()),
        ("perennial-workspace-bytes", manifest.workspace_bytes.to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header_name(header), value);
        }
    }
    let (pieces, read) = mpsc::channel(TAPE_PIECES);
    app.tracker.clone().spawn(async move {
        let _permit = permit;
        let mut tape = Tape::new(pieces);
        let written = write(&app, &row, &manifest, &survey, packed.as_ref(), &mut tape).await;
        if let Some(packed) = packed {
            packed.drop(&app).await;
        }
        tape.end(written).await;
    });
    *response.body_mut() = Body::from_stream(stream::unfold(read, async |mut read| {
        read.recv().await.map(|piece| (piece, read))
    }));
    Ok(response)
}

fn header_name(name: &str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap_or(CONTENT_TYPE)
}

/// What the first reading finds.
struct Survey {
    head_hash: String,
    event_bytes: u64,
    blobs: BTreeSet<String>,
}

/// What the first events of a session hash to, up to a number.
pub(super) async fn head_hash(app: &App, row: &SessionRow, head: u64) -> Result<String, ApiError> {
    Ok(survey(app, row, head).await?.head_hash)
}

async fn survey(app: &App, row: &SessionRow, head: u64) -> Result<Survey, ApiError> {
    let mut chain = Chain::default();
    let (mut event_bytes, mut blobs) = (0, BTreeSet::new());
    let mut after = 0;
    while after < head {
        let records = page(app, row, after, head).await?;
        for record in &records {
            let line = chain.line(record).map_err(|error| corrupt(row.key, record, &error))?;
            event_bytes += line.len() as u64 + 1;
            named(&record.payload, &mut blobs);
        }
        after = chain.count();
    }
    Ok(Survey {
        head_hash: chain.head(),
        event_bytes,
        blobs,
    })
}

/// Events after a number, up to the head the export began with.
async fn page(app: &App, row: &SessionRow, after: u64, head: u64) -> Result<Vec<Record>, ApiError> {
    let from = ReadFrom {
        after,
        limit: EVENT_PAGE_MAX,
    };
    let mut records = app.ports.log.read(row.key, from).await?;
    records.retain(|record| record.seq <= head);
    if records.is_empty() {
        return Err(ApiError::inconsistent(format!(
            "the log of {} ends at {after}, not at {}",
            row.key.session, head
        )));
    }
    Ok(records)
}

fn corrupt(key: SessionKey, record: &Record, error: &serde_json::Error) -> ApiError {
    ApiError::inconsistent(format!(
        "event {} of {} cannot be exported: {error}",
        record.seq, key.session
    ))
}

/// Blobs are named as `…/blobs/SHA256` in the text of a result.
fn named(payload: &str, blobs: &mut BTreeSet<String>) {
    const BEFORE: &str = "/blobs/";
    for (at, _) in payload.match_indices(BEFORE) {
        let name = payload.get(at + BEFORE.len()..at + BEFORE.len() + 64);
        let is_hash = |name: &&str| name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        blobs.extend(name.filter(is_hash).map(str::to_owned));
    }
}

async fn write(
    app: &App,
    row: &SessionRow,
    manifest: &Manifest,
    survey: &Survey,
    packed: Option<&Packed>,
    tape: &mut Tape,
) -> Result<(), Broken> {
    let at = manifest.exported_at;
    tape.file(
        MANIFEST,
        at,
        &serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?,
    )
    .await?;
    tape.file(
        SESSION,
        at,
        &serde_json::to_vec_pretty(&head(row)).map_err(io::Error::other)?,
    )
    .await?;
    tape.begin(EVENTS, at, survey.event_bytes).await?;
    let mut chain = Chain::default();
    while chain.count() < row.head {
        let records = page(app, row, chain.count(), row.head)
            .await
            .map_err(|error| Broken::Said(error.message))?;
        for record in &records {
            let line = chain.line(record).map_err(io::Error::other)?;
            tape.write(line.as_bytes()).await?;
            tape.write(b"\n").await?;
        }
    }
    tape.close().await?;
    for sha256 in &survey.blobs {
        // One that is gone is gone here too.
        let blob = app.ports.blobs.get(row.key.workspace, sha256).await;
        if let Some(bytes) = blob.map_err(io::Error::other)? {
            tape.file(&format!("{BLOBS}{sha256}"), at, &bytes).await?;
        }
    }
    if let Some(packed) = packed {
        tape.begin(WORKSPACE, at, packed.bytes).await?;
        let mut offset = 0;
        while offset < packed.bytes {
            let piece = packed.read(app, offset).await.map_err(Broken::Said)?;
            offset += piece.len() as u64;
            tape.write(&piece).await?;
        }
        tape.close().await?;
    }
    Ok(())
}

fn head(row: &SessionRow) -> Head {
    Head {
        agent: row.agent.clone().without_secrets(),
        environment: row.environment.clone().without_secrets(),
        title: row.title.clone(),
        metadata: row.metadata.clone(),
        created_at: row.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_found_where_results_name_them() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let text = format!(
            "[whole: GET /v1/sessions/sesn_1/blobs/{one}] /blobs/short /blobs/{} [tail: GET …/blobs/{two}] /blobs/",
            "Z".repeat(64)
        );
        let mut found = BTreeSet::new();
        named(&text, &mut found);
        assert_eq!(found, BTreeSet::from([one, two]));
    }
}
