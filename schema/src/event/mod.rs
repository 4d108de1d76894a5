//! Events: what a session's log is made of.
//!
//! * [`Draft`]: an event about to be appended: typed body, encoded public payload, private replay data.
//! * [`Record`]: a stored row. Its payload is the public JSON exactly as served; nobody parses it on the way out.
//! * [`Event`]: a decoded record, what the kernel folds.
//!
//! Two payloads per event (DESIGN §4): `payload` is public; `private` is what replay needs and nobody else may see.

mod body;
mod imported;
mod last;
mod private;

pub use body::*;
pub use imported::*;
pub use last::LastEvent;
pub use private::*;

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{EventId, SessionId, Timestamp};

/// Verbatim JSON that passes through without being understood here. Shared: a conversation is rendered anew for every model
/// request, and must not be copied for it.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Raw(pub Arc<RawValue>);

impl Raw {
    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Encodes a value. `serde_json` cannot fail on the types we pass; a type that could would be a bug, so the fallback is
    /// JSON `null` rather than a panic.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(|_| Self::null(), Self::from)
    }

    /// JSON `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::from(RawValue::NULL.to_owned())
    }

    /// Parses the text into a typed value.
    ///
    /// # Errors
    /// When the JSON has another shape.
    pub fn parse<'a, T: serde::Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.text())
    }
}

impl From<Box<RawValue>> for Raw {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.into())
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Raw {}

/// An event about to be appended.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Chosen before the event is finished (previews carry it), so ids are not ordered.
    pub id: EventId,
    /// What the kernel will fold.
    pub body: Body,
    /// The public JSON as it will be served, one line.
    pub payload: String,
    /// Replay data, JSON, see [`Private`].
    pub private: Option<String>,
    /// Who sent an input: a key, a user, the end user behind a relaying service.
    pub actor: Option<String>,
}

impl Draft {
    /// An event of the engine, stamped as processed `at`.
    #[must_use]
    pub fn new(id: EventId, body: Body, at: Timestamp) -> Self {
        let payload = encode(id, &body, Some(at));
        Self {
            id,
            body,
            payload,
            private: None,
            actor: None,
        }
    }

    /// The same with replay data.
    #[must_use]
    pub fn with_private(mut self, private: &Private) -> Self {
        self.private = serde_json::to_string(private).ok();
        self
    }

    /// An input from a client: its own JSON members pass through verbatim (unknown ones too) behind `type`, `id` and
    /// `processed_at`. Queued inputs are stored with `processed_at: null`; the others are processed on receipt.
    ///
    /// # Errors
    /// When `json` is not an object of this type's shape.
    pub fn input(
        id: EventId,
        kind: &str,
        json: &str,
        at: Timestamp,
        actor: Option<String>,
    ) -> serde_json::Result<Self> {
        let body = Body::parse(kind, json)?;
        let members: indexmap::IndexMap<String, Box<RawValue>> = serde_json::from_str(json)?;
        let stamp = (!body.is_queued_input()).then_some(at);
        let mut payload = open(id, kind, stamp);
        for (key, value) in &members {
            if !matches!(key.as_str(), "type" | "id" | "processed_at") {
                payload.push(',');
                payload.push_str(&serde_json::to_string(key)?);
                payload.push(':');
                payload.push_str(&one_line(value.get()));
            }
        }
        payload.push('}');
        Ok(Self {
            id,
            body,
            payload,
            private: None,
            actor,
        })
    }
}

/// The text that stands in the stored payload of a queued input until it is processed. Its first occurrence is always the
/// envelope's own, because `type` and `id` come first and cannot contain it.
const UNPROCESSED: &str = "\"processed_at\":null";

/// The public payload of an input with its `processed_at` filled in (lists do this; streams show the stored text).
#[must_use]
pub fn with_processed_at(payload: &str, at: Timestamp) -> String {
    payload.replacen(UNPROCESSED, &format!("\"processed_at\":\"{at}\""), 1)
}

fn open(id: EventId, kind: &str, at: Option<Timestamp>) -> String {
    match at {
        Some(at) => format!("{{\"type\":\"{kind}\",\"id\":\"{id}\",\"processed_at\":\"{at}\""),
        None => format!("{{\"type\":\"{kind}\",\"id\":\"{id}\",{UNPROCESSED}"),
    }
}

fn encode(id: EventId, body: &Body, at: Option<Timestamp>) -> String {
    let mut payload = open(id, body.kind(), at);
    let fields = body.fields();
    let inner = fields.trim_start_matches('{').trim_end_matches('}');
    debug_assert!(fields.starts_with('{') && fields.ends_with('}'));
    if inner.is_empty() {
        payload.push('}');
    } else {
        payload.push(',');
        payload.push_str(&fields[1..]);
    }
    payload
}

/// A client may send pretty-printed JSON; an SSE `data:` line must not contain line breaks. Outside strings a line break is
/// insignificant white space and inside strings JSON does not allow it raw, so replacing is safe.
fn one_line(json: &str) -> String {
    if json.contains(['\n', '\r']) {
        json.replace(['\n', '\r'], " ")
    } else {
        json.to_owned()
    }
}

/// A stored row of a session's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1, 2, 3 … without a gap; the only order and the only cursor.
    pub seq: u64,
    /// Unique within the session.
    pub id: EventId,
    /// The event's type, e.g. `agent.message`.
    pub kind: String,
    /// Grows by one at the first model request after an idle other than `requires_action`.
    pub turn: u64,
    /// Who sent an input.
    pub actor: Option<String>,
    /// The thread within the session; none is the primary thread.
    pub thread_id: Option<String>,
    /// Committed at, by the log's clock.
    pub created_at: Timestamp,
    /// The public JSON as served.
    pub payload: String,
    /// Replay data.
    pub private: Option<String>,
}

impl Record {
    /// Decodes the row for the kernel. An unknown type decodes to [`Body::Unknown`]: deciding what that means is the fold's
    /// business, not the codec's.
    ///
    /// # Errors
    /// When a payload does not have the shape of its type: the row is corrupt, which is never skipped (STYLE §4.4).
    pub fn decode(&self) -> Result<Event, DecodeError> {
        let refuse = |part: &'static str| {
            move |source| DecodeError {
                seq: self.seq,
                id: self.id,
                part,
                source,
            }
        };
        let body = Body::parse(&self.kind, &self.payload).map_err(refuse("payload"))?;
        let private = self
            .private
            .as_deref()
            .map(serde_json::from_str::<Private>)
            .transpose()
            .map_err(refuse("private"))?;
        Ok(Event {
            seq: self.seq,
            id: self.id,
            turn: self.turn,
            body,
            private: private.unwrap_or_default(),
        })
    }

    /// The raw envelope, as `GET /v1/sessions/{id}/log` serves it (never the private part).
    #[must_use]
    pub fn envelope(&self, session: SessionId) -> String {
        let text = |value: &Option<String>| serde_json::to_string(value).unwrap_or_else(|_| "null".into());
        format!(
            "{{\"session_id\":\"{session}\",\"seq\":{},\"id\":\"{}\",\"type\":{},\"turn\":{},\"actor\":{},\"thread_id\":{},\"created_at\":\"{}\",\"payload\":{}}}",
            self.seq,
            self.id,
            serde_json::to_string(&self.kind).unwrap_or_default(),
            self.turn,
            text(&self.actor),
            text(&self.thread_id),
            self.created_at,
            self.payload,
        )
    }
}

/// A row that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} ({id}) has a {part} that does not parse")]
pub struct DecodeError {
    /// Its place in the log.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// Which column.
    pub part: &'static str,
    /// What the parser said.
    pub source: serde_json::Error,
}

/// A decoded record: what `State::apply` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Place in the log.
    pub seq: u64,
    /// Id of the event.
    pub id: EventId,
    /// Turn it belongs to.
    pub turn: u64,
    /// Typed content.
    pub body: Body,
    /// Replay data, empty when absent.
    pub private: Private,
}
