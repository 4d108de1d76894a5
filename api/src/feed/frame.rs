//! SSE frames, encoded once and shared by every subscriber.

use bytes::Bytes;
use perennial_engine::ports::{ChangeCursor, Delta, Message, SessionRow};
use perennial_schema::event::{Domain, Record, domain};
use perennial_schema::{EventId, Timestamp};

use super::workspace::Place;
use crate::wire::Deleted;
use crate::wire::mail::MessageView;
use crate::wire::session::Session;

/// An event of the log, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct EventFrame {
    pub seq: u64,
    pub id: EventId,
    /// Ours, not the adopted API's.
    pub extension: bool,
    /// Nothing follows this event.
    pub last: bool,
    /// Ends every open preview (a model request is over).
    pub ends_previews: bool,
    pub bytes: Bytes,
}

/// A preview of an unfinished event, ready to be written. Carries no `id:`, so it never becomes a cursor.
#[derive(Clone, Debug)]
pub(super) struct DeltaFrame {
    pub event_id: EventId,
    pub kind: &'static str,
    pub n: u64,
    /// The newest event the feed had seen when this piece came: who has read further must not show it any more.
    pub after: u64,
    pub bytes: Bytes,
}

/// Encodes a stored event.
pub(super) fn event(record: &Record) -> EventFrame {
    let kind = one_line(&record.kind);
    let payload = one_line(&record.payload);
    EventFrame {
        seq: record.seq,
        id: record.id,
        extension: domain(&record.kind) == Domain::Extension,
        last: matches!(record.kind.as_str(), "session.deleted" | "session.status_terminated"),
        ends_previews: record.kind == "span.model_request_end",
        bytes: Bytes::from(format!("event: {kind}\nid: {}\ndata: {payload}\n\n", record.seq)),
    }
}

/// Encodes a preview.
pub(super) fn delta(delta: &Delta, after: u64) -> DeltaFrame {
    let name = if delta.n == 0 { "event_start" } else { "event_delta" };
    let mut bytes = Vec::with_capacity(delta.payload.len() + 32);
    bytes.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    bytes.extend(
        delta
            .payload
            .iter()
            .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
    );
    bytes.extend_from_slice(b"\n\n");
    DeltaFrame {
        event_id: delta.event_id,
        kind: delta.kind,
        n: delta.n,
        after,
        bytes: bytes.into(),
    }
}

/// A session of the workspace feed, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct SessionFrame {
    pub cursor: ChangeCursor,
    /// When it was deleted, if it was: then this is a tombstone.
    pub deleted_at: Option<Timestamp>,
    pub bytes: Bytes,
}

/// Encodes a session as it is after a change.
pub(super) fn session(cursor: ChangeCursor, row: &SessionRow) -> Result<SessionFrame, serde_json::Error> {
    let (name, body) = if row.deleted_at.is_some() {
        let gone = Deleted {
            id: row.key.session.to_string(),
            kind: "session_deleted",
        };
        (gone.kind, serde_json::to_string(&gone)?)
    } else {
        ("session", serde_json::to_string(&Session::of(row, true))?)
    };
    let body = one_line(&body);
    Ok(SessionFrame {
        cursor,
        deleted_at: row.deleted_at,
        bytes: Bytes::from(format!("event: {name}\nid: {}\ndata: {body}\n\n", Place(cursor))),
    })
}

/// Encodes a message as it is after a change.
pub(super) fn mail(cursor: ChangeCursor, message: Message) -> Result<Bytes, serde_json::Error> {
    let body = serde_json::to_string(&MessageView::from(message))?;
    let (place, body) = (Place(cursor), one_line(&body));
    Ok(Bytes::from(format!("event: mail\nid: {place}\ndata: {body}\n\n")))
}

/// The same as [`live`], with the place to go on from: who has heard of no message has no other.
pub(super) fn live_at(cursor: ChangeCursor) -> Bytes {
    let place = Place(cursor);
    Bytes::from(format!("event: live\nid: {place}\ndata: {{\"type\":\"live\"}}\n\n"))
}

/// Says that all there is has been told, and that what follows is news. Carries no `id:`.
pub(super) fn live() -> Bytes {
    Bytes::from_static(b"event: live\ndata: {\"type\":\"live\"}\n\n")
}

/// The first bytes of a stream: how long to wait before a reconnect, and proof that it is open.
pub(super) fn hello(retry_millis: u64) -> Bytes {
    Bytes::from(format!("retry: {retry_millis}\n: open\n\n"))
}

/// A comment: keeps proxies and clients patient.
pub(super) fn heartbeat() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

/// An error in mid-stream, in the shape SDKs raise.
pub(super) fn error(message: &str) -> Bytes {
    let body = crate::error::ApiError::inconsistent(message).body(None);
    Bytes::from(format!("event: error\ndata: {body}\n\n"))
}

/// A provider's verbatim JSON may be pretty-printed; a `data:` line must not break. Outside strings a line break is white
/// space, inside strings JSON does not allow it raw.
fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ").into()
    } else {
        text.into()
    }
}
