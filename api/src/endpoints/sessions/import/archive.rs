//! An exported session: read in a thread of its own, entry by entry, nothing believed that was not checked.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use axum::response::Response;
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use perennial_engine::kernel::State as Folded;
use perennial_engine::ports::Past;
use perennial_schema::archive::{BLOBS, Chain, EVENTS, FORMAT, Head, MANIFEST, Manifest, SESSION, VERSION, WORKSPACE};
use perennial_schema::event::{Draft, Record, SessionImported};
use perennial_schema::frame::PACK_PIECE_BYTES;
use perennial_schema::limits::TOOL_OUTPUT_KEPT_BYTES;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry};
use tokio::sync::mpsc;

use super::land::{Arrived, Landing};
use crate::body::hex;
use crate::error::ApiError;
use crate::limits::{
    IMPORT_BLOBS, IMPORT_EVENT_BYTES, IMPORT_EVENTS, IMPORT_LINE_BYTES, IMPORT_META_BYTES, TAPE_PIECES,
};

/// What is in the file, in its order.
enum Found {
    Head(Box<Head>),
    Blob {
        sha256: String,
        bytes: Bytes,
    },
    /// Of the workspace.
    Piece(Bytes),
    /// All was read: the file is what it says.
    Whole {
        manifest: Box<Manifest>,
        log: Box<Log>,
    },
}

struct Log {
    past: Vec<Past>,
    state: Folded,
}

/// Makes the session.
pub(super) async fn land(landing: Landing<'_>, file: File) -> Result<Response, ApiError> {
    let (told, mut found) = mpsc::channel(TAPE_PIECES);
    let reading = tokio::task::spawn_blocking(move || read(file, &told));
    let mut head = None;
    let mut whole = None;
    let mut place = None;
    let session = landing.app.ports.ids.session();
    let taken = async {
        while let Some(part) = found.recv().await {
            match part {
                Found::Head(given) => {
                    place = Some(landing.place(Some(&given)).await?);
                    head = Some(given);
                }
                Found::Blob { sha256, bytes } => {
                    let put = landing.app.ports.blobs.put(landing.principal.workspace, bytes).await?;
                    debug_assert_eq!(put, sha256);
                }
                Found::Piece(piece) => {
                    if let Some(place) = &mut place {
                        place.unpacking.write(landing.app, &piece).await?;
                    }
                }
                Found::Whole { manifest, log } => whole = Some((manifest, log)),
            }
        }
        Ok::<_, ApiError>(())
    };
    let taken = taken.await;
    // Whoever reads is stopped by nobody listening.
    drop(found);
    let read = reading.await;
    let outcome = match (taken, read) {
        (Err(error), _) => Err(error),
        (Ok(()), Ok(read)) => read,
        (Ok(()), Err(error)) => {
            tracing::error!(%error, "the reading of an import ended abnormally");
            Err(ApiError::bug())
        }
    };
    let (head, (manifest, log), mut place) = match (outcome, head, whole, place) {
        (Ok(()), Some(head), Some(whole), Some(place)) => (head, whole, place),
        (outcome, _, _, place) => {
            if let Some(mut place) = place {
                place.unpacking.give_up(landing.app).await;
            }
            return Err(outcome.err().unwrap_or_else(|| wrong("it is not complete")));
        }
    };
    let workspace = place.unpacking.finish(landing.app, session).await?;
    let imported = SessionImported {
        format: "perennial".into(),
        from_session: manifest.session_id.to_string(),
        events: manifest.events,
        head_hash: Some(manifest.head_hash.clone()),
        workspace: workspace.into(),
        unread: 0,
    };
    let Head { title, metadata, .. } = *head;
    let arrived = Arrived {
        session,
        past: log.past,
        state: log.state,
        imported,
        title,
        metadata,
    };
    landing.create(place, arrived).await
}

/// A wrong file, in words for whoever sent it.
fn wrong(what: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("the file cannot be imported: {what}"))
}

fn read(file: File, told: &mpsc::Sender<Found>) -> Result<(), ApiError> {
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(file)));
    // Raw: no name in our files is long, and the library would read one whole, however long it claims to be.
    let mut entries = archive.entries().map_err(wrong)?.raw(true);
    let mut due = |path: &str| -> Result<_, ApiError> {
        let entry = entries.next().ok_or_else(|| wrong(format!("{path} is missing")))?;
        let entry = entry.map_err(wrong)?;
        let is_it = entry.path_bytes().as_ref() == path.as_bytes() && entry.header().entry_type().is_file();
        if is_it {
            Ok(entry)
        } else {
            Err(wrong(format!("{path} is not where it must be")))
        }
    };
    let manifest: Manifest = small(due(MANIFEST)?, MANIFEST)?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        return Err(wrong(format!(
            "it is of the form {} {}, and this server reads {FORMAT} {VERSION}",
            cut(&manifest.format),
            manifest.version
        )));
    }
    let head: Head = small(due(SESSION)?, SESSION)?;
    let log = events(due(EVENTS)?, &manifest)?;
    // Only now: nothing is stored for a log that is not what it says.
    tell(told, Found::Head(Box::new(head)))?;
    let (mut blobs, mut workspace) = (0, false);
    for entry in entries {
        let mut entry = entry.map_err(wrong)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match path.strip_prefix(BLOBS) {
            Some(sha256) if entry.header().entry_type().is_file() && !workspace => {
                blobs += 1;
                if blobs > IMPORT_BLOBS {
                    return Err(wrong(format!("it has more than {IMPORT_BLOBS} blobs")));
                }
                blob(&mut entry, sha256, told)?;
            }
            None if path == WORKSPACE && entry.header().entry_type().is_file() && !workspace => {
                workspace = true;
                pieces(&mut entry, manifest.workspace_bytes, told)?;
            }
            _ => return Err(wrong(format!("{} does not belong into it", cut(&path)))),
        }
    }
    if !workspace && manifest.workspace_bytes > 0 {
        return Err(wrong(format!("{WORKSPACE} is missing")));
    }
    tell(
        told,
        Found::Whole {
            manifest: Box::new(manifest),
            log: Box::new(log),
        },
    )
}

fn tell(told: &mpsc::Sender<Found>, found: Found) -> Result<(), ApiError> {
    // Who does not listen any more has an error of their own.
    told.blocking_send(found)
        .map_err(|_| wrong("it is not wanted any more"))
}

fn cut(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

fn small<T: serde::de::DeserializeOwned, R: Read>(entry: Entry<'_, R>, path: &str) -> Result<T, ApiError> {
    let mut text = String::new();
    let read = entry
        .take(IMPORT_META_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(wrong)?;
    if read as u64 > IMPORT_META_BYTES {
        return Err(wrong(format!("{path} is larger than {IMPORT_META_BYTES} bytes")));
    }
    crate::json::check(&text).map_err(|problem| wrong(format!("{path}: {problem}")))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("{path}: {error}")))
}

/// Every line is checked against its hash, and all of them fold.
fn events<R: Read>(entry: Entry<'_, R>, manifest: &Manifest) -> Result<Log, ApiError> {
    if manifest.events > IMPORT_EVENTS {
        return Err(wrong(format!("it has more than {IMPORT_EVENTS} events")));
    }
    if entry.size() > IMPORT_EVENT_BYTES {
        return Err(wrong(format!("its events take more than {IMPORT_EVENT_BYTES} bytes")));
    }
    let mut lines = BufReader::new(entry);
    let (mut chain, mut ids) = (Chain::default(), HashSet::new());
    let mut log = Log {
        past: Vec::new(),
        state: Folded::default(),
    };
    let mut line = String::new();
    loop {
        line.clear();
        let read = Read::take(&mut lines, IMPORT_LINE_BYTES)
            .read_line(&mut line)
            .map_err(|error| wrong(format!("event {}: {error}", chain.count() + 1)))?;
        if read == 0 {
            break;
        }
        let text = line
            .strip_suffix('\n')
            .ok_or_else(|| wrong(format!("event {} is cut or too long", chain.count() + 1)))?;
        crate::json::check(text).map_err(|problem| wrong(format!("event {}: {problem}", chain.count() + 1)))?;
        let record = chain.read(text).map_err(wrong)?;
        if !ids.insert(record.id) {
            return Err(wrong(format!("event {}: its id is there twice", record.seq)));
        }
        take(&mut log, record)?;
        if chain.count() > manifest.events {
            break;
        }
    }
    if (chain.count(), chain.head()) != (manifest.events, manifest.head_hash.clone()) {
        return Err(wrong(format!(
            "it says that it has {} events up to {}, and has {} up to {}",
            manifest.events,
            manifest.head_hash,
            chain.count(),
            chain.head()
        )));
    }
    Ok(log)
}

fn take(log: &mut Log, record: Record) -> Result<(), ApiError> {
    let event = record
        .decode()
        .map_err(|error| wrong(format!("{error}: {}", error.source)))?;
    if record.thread_id.is_some() || record.turn < log.state.turn || record.turn > u64::from(u32::MAX) {
        return Err(wrong(format!(
            "event {}: its thread or turn makes no sense",
            record.seq
        )));
    }
    log.state.apply(&event);
    let draft = Draft {
        id: record.id,
        body: event.body,
        payload: record.payload,
        private: record.private,
        actor: record.actor,
    };
    match log.past.last_mut() {
        Some(last) if (last.at, last.turn) == (record.created_at, record.turn) => last.events.push(draft),
        _ => log.past.push(Past {
            at: record.created_at,
            turn: record.turn,
            events: vec![draft],
        }),
    }
    Ok(())
}

fn blob<R: Read>(entry: &mut Entry<'_, R>, sha256: &str, told: &mpsc::Sender<Found>) -> Result<(), ApiError> {
    if entry.size() > TOOL_OUTPUT_KEPT_BYTES {
        return Err(wrong(format!("a blob is larger than {TOOL_OUTPUT_KEPT_BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(wrong)?;
    if hex(&Sha256::digest(&bytes)) != sha256 {
        return Err(wrong(format!("the blob {} is not what its name says", cut(sha256))));
    }
    tell(
        told,
        Found::Blob {
            sha256: sha256.to_owned(),
            bytes: bytes.into(),
        },
    )
}

fn pieces<R: Read>(entry: &mut Entry<'_, R>, bytes: u64, told: &mpsc::Sender<Found>) -> Result<(), ApiError> {
    if entry.size() != bytes {
        return Err(wrong(format!("{WORKSPACE} is not as long as the file says")));
    }
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(PACK_PIECE_BYTES, |left| left.min(PACK_PIECE_BYTES));
        let mut piece = vec![0; length];
        entry.read_exact(&mut piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => wrong(format!("{WORKSPACE} is cut")),
            _ => wrong(error),
        })?;
        left -= length as u64;
        tell(told, Found::Piece(piece.into()))?;
    }
    Ok(())
}
