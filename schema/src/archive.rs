//! An exported session as one file: a gzipped tar of `manifest.json`, `session.json`, `events.ndjson`, `blobs/SHA256` and
//! `workspace.tar`, in this order.
//!
//! `events.ndjson` has one event a line, with all a log keeps of it, and at the end of each line a hash over that line and the
//! hash before it: a file that was changed, cut or put together anew is known by the first line that does not fit. The lines
//! do not say whose session they are, so the same events have the same hashes on every server.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::agent::AgentSnapshot;
use crate::environment::EnvironmentConfig;
use crate::event::Record;
use crate::{EventId, SessionId, Timestamp};

/// Names the form; a reader that does not know it stops.
pub const FORMAT: &str = "perennial-session";
/// Grows when a reader of the last one could not read it.
pub const VERSION: u32 = 1;
/// Paths in the file.
pub const MANIFEST: &str = "manifest.json";
/// See [`Head`].
pub const SESSION: &str = "session.json";
/// One event a line.
pub const EVENTS: &str = "events.ndjson";
/// Folder of the blobs, each under its SHA-256.
pub const BLOBS: &str = "blobs/";
/// The workspace folder, itself a tar file; absent when there is none.
pub const WORKSPACE: &str = "workspace.tar";

/// What is in the file; its first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// What wrote it.
    pub generator: String,
    /// The session it was.
    pub session_id: SessionId,
    /// When the file was made; the workspace is as of then.
    pub exported_at: Timestamp,
    /// How many events.
    pub events: u64,
    /// Hash of the last line of events.
    pub head_hash: String,
    /// How many blobs.
    pub blobs: u64,
    /// Length of the workspace; 0 when there is none.
    pub workspace_bytes: u64,
}

/// The session's row, without what belongs to its server alone (budgets, vaults, keys).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Everything its turns depend on.
    pub agent: AgentSnapshot,
    /// Where its hands were.
    pub environment: EnvironmentConfig,
    /// Title.
    pub title: Option<String>,
    /// Free pairs.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Made at.
    pub created_at: Timestamp,
}

/// A line that is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// No hash at its end.
    #[error("event {0}: the line has no hash")]
    NoHash(u64),
    /// The hash is another.
    #[error("event {0}: the hash does not fit: the file was changed")]
    Changed(u64),
    /// Not an event.
    #[error("event {0}: {1}")]
    Malformed(u64, serde_json::Error),
    /// Another number than the one that is due.
    #[error("event {0} is due, not {1}")]
    OutOfOrder(u64, u64),
    /// It says something else of itself inside than outside.
    #[error("event {0}: the payload has another id or type than the event")]
    Contradiction(u64),
    /// Not as we write it, so it would have another hash here.
    #[error("event {0}: the line is not written as Perennial writes it")]
    Foreign(u64),
}

#[derive(Serialize)]
struct LineOut<'a> {
    seq: u64,
    id: EventId,
    #[serde(rename = "type")]
    kind: &'a str,
    turn: u64,
    actor: Option<&'a str>,
    thread_id: Option<&'a str>,
    created_at: Timestamp,
    payload: &'a RawValue,
    private: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineIn {
    seq: u64,
    id: EventId,
    #[serde(rename = "type")]
    kind: String,
    turn: u64,
    actor: Option<String>,
    thread_id: Option<String>,
    created_at: Timestamp,
    payload: Box<RawValue>,
    private: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Inside {
    id: EventId,
    #[serde(rename = "type")]
    kind: String,
}

/// What stands before the hash at the end of a line, and its hexadecimal digits.
const HASH: &str = ",\"hash\":\"";
const DIGITS: usize = 64;

/// Writes and reads lines, each bound to all that came before.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    count: u64,
    last: Option<String>,
}

impl Chain {
    /// How many lines so far.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Hash of the last line, or of nothing.
    #[must_use]
    pub fn head(&self) -> String {
        self.last.clone().unwrap_or_else(|| next("", ""))
    }

    /// The line of an event, without a line break.
    ///
    /// # Errors
    /// When payload or private part are not JSON: the row is corrupt.
    pub fn line(&mut self, record: &Record) -> serde_json::Result<String> {
        let mut line = encode(record)?;
        let hash = next(&self.head(), &line);
        line.truncate(line.len() - 1);
        line.push_str(HASH);
        line.push_str(&hash);
        line.push_str("\"}");
        self.count += 1;
        self.last = Some(hash);
        Ok(line)
    }

    /// The event of a line.
    ///
    /// # Errors
    /// See [`BadLine`].
    pub fn read(&mut self, line: &str) -> Result<Record, BadLine> {
        let due = self.count + 1;
        let (bare, hash) = split(line).ok_or(BadLine::NoHash(due))?;
        if next(&self.head(), &bare) != hash {
            return Err(BadLine::Changed(due));
        }
        let read: LineIn = serde_json::from_str(&bare).map_err(|error| BadLine::Malformed(due, error))?;
        if read.seq != due {
            return Err(BadLine::OutOfOrder(due, read.seq));
        }
        let inside: Inside =
            serde_json::from_str(read.payload.get()).map_err(|error| BadLine::Malformed(due, error))?;
        if inside.id != read.id || inside.kind != read.kind {
            return Err(BadLine::Contradiction(due));
        }
        let record = Record {
            seq: read.seq,
            id: read.id,
            kind: read.kind,
            turn: read.turn,
            actor: read.actor,
            thread_id: read.thread_id,
            created_at: read.created_at,
            payload: read.payload.get().to_owned(),
            private: read.private.map(|private| private.get().to_owned()),
        };
        if encode(&record).ok().as_deref() != Some(&bare) {
            return Err(BadLine::Foreign(due));
        }
        self.count = due;
        self.last = Some(hash.to_owned());
        Ok(record)
    }
}

fn encode(record: &Record) -> serde_json::Result<String> {
    let private = record.private.as_deref().map(serde_json::from_str).transpose()?;
    serde_json::to_string(&LineOut {
        seq: record.seq,
        id: record.id,
        kind: &record.kind,
        turn: record.turn,
        actor: record.actor.as_deref(),
        thread_id: record.thread_id.as_deref(),
        created_at: record.created_at,
        payload: serde_json::from_str(&record.payload)?,
        private,
    })
}

/// The line as it was before its hash was added, and the hash.
fn split(line: &str) -> Option<(String, &str)> {
    let rest = line.strip_suffix("\"}")?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let bare = rest.strip_suffix(HASH)?;
    Some((format!("{bare}}}"), hash))
}

fn next(before: &str, line: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(before.as_bytes());
    hash.update(b"\n");
    hash.update(line.as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn record(seq: u64) -> Record {
        let id = EventId::from_uuid(Uuid::from_u128(u128::from(seq)));
        Record {
            seq,
            id,
            kind: "agent.message".into(),
            turn: 1,
            actor: (seq == 2).then(|| "key_\"1\"".into()),
            thread_id: None,
            created_at: Timestamp::from_micros(1_700_000_000_000_001),
            payload: format!("{{\"type\":\"agent.message\",\"id\":\"{id}\", \"odd\" : [1.0, \"é\\u00e9\"]}}"),
            private: (seq == 1).then(|| "{\"native_id\":\"x\"}".into()),
        }
    }

    fn lines() -> Vec<String> {
        let mut chain = Chain::default();
        (1..=3).map(|seq| chain.line(&record(seq)).unwrap()).collect()
    }

    #[test]
    fn lines_come_back_as_they_were() {
        let mut chain = Chain::default();
        for (line, seq) in lines().iter().zip(1..) {
            assert!(!line.contains('\n'));
            assert_eq!(chain.read(line).unwrap(), record(seq));
            assert!(line.contains(&chain.head()));
        }
        assert_eq!(chain.count(), 3);
    }

    #[test]
    fn the_form_of_a_line_is_fixed() {
        // Hashes are compared between servers of different versions.
        assert_eq!(
            lines()[0],
            "{\"seq\":1,\"id\":\"sevt_00000000000000000000000000000001\",\"type\":\"agent.message\",\"turn\":1,\"actor\":null,\
             \"thread_id\":null,\"created_at\":\"2023-11-14T22:13:20.000001Z\",\"payload\":{\"type\":\"agent.message\",\"id\":\
             \"sevt_00000000000000000000000000000001\", \"odd\" : [1.0, \"é\\u00e9\"]},\"private\":{\"native_id\":\"x\"},\
             \"hash\":\"49ecf41478acb26277de777992a97de4cea99afa9301f0a76527f887016875bf\"}"
        );
    }

    #[test]
    fn changed_lines_are_known() {
        let lines = lines();
        let read = |lines: &[&str]| {
            let mut chain = Chain::default();
            lines.iter().try_for_each(|line| chain.read(line).map(|_| ()))
        };
        let (first, second) = (lines[0].as_str(), lines[1].as_str());
        assert!(read(&[first, second]).is_ok());
        assert!(matches!(read(&[second]), Err(BadLine::Changed(1))));
        assert!(matches!(read(&[first, first]), Err(BadLine::Changed(2))));
        let changed = first.replace("1.0", "1.1");
        assert!(matches!(read(&[&changed]), Err(BadLine::Changed(1))));
        assert!(matches!(read(&["{}"]), Err(BadLine::NoHash(1))));
        assert!(matches!(read(&[""]), Err(BadLine::NoHash(1))));
        assert!(matches!(read(&[&"é".repeat(100)]), Err(BadLine::NoHash(1))));

        let forged = |bare: &str| {
            let hash = next(&Chain::default().head(), bare);
            format!("{}{HASH}{hash}\"}}", &bare[..bare.len() - 1])
        };
        let bare = encode(&record(1)).unwrap();
        for (from, to, said) in [
            ("\"seq\":1", "\"seq\":2", "event 1 is due, not 2"),
            (
                "\"type\":\"agent.message\",\"turn\"",
                "\"type\":\"user.message\",\"turn\"",
                "another id or type",
            ),
            ("\"turn\":1", "\"turn\": 1", "not written as Perennial"),
            ("\"turn\":1", "\"turn\":\"x\"", "event 1: invalid type"),
            ("\"turn\":1", "\"turn\":1,\"more\":1", "unknown field"),
        ] {
            let refused = Chain::default().read(&forged(&bare.replacen(from, to, 1))).unwrap_err();
            assert!(refused.to_string().contains(said), "{refused}");
        }
    }
}
