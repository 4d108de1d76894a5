//! What is there before an append: rows, earlier appends under the same id, requests under the same key, tool uses.

use chrono::{DateTime, Utc};
use perennial_engine::ports::{Append, Authority, Idempotency, SessionKey, StoreError};
use perennial_schema::event::Answer;
use perennial_schema::{AppendId, EventId, Timestamp, WorkspaceId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::clock::Time;
use super::rows::{self, Cells, Known};
use super::script::Script;
use crate::log::reading::{Follow, Span};
use crate::log::rules::{self, Outcome, Remembered, ToolUse};

/// A row, and what an earlier append under the same id came to.
pub(super) struct Found {
    pub(super) known: Known,
    pub(super) replay: Option<Outcome>,
}

/// A look at something that may not parse.
pub(super) type Parsed<T> = Result<T, StoreError>;

/// A session, and under which id something may have happened to it.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: SessionKey,
    id: AppendId,
    /// A holder's: it is near the end of the log or nowhere.
    held: bool,
}

impl Asked {
    pub(super) fn of(append: &Append) -> Self {
        Self {
            key: append.key,
            id: append.append_id,
            held: matches!(append.authority, Authority::Holder { .. }),
        }
    }

    pub(super) fn creation(key: SessionKey) -> Self {
        Self {
            key,
            id: rules::creation_id(key),
            held: false,
        }
    }
}

/// The sessions' rows, each with what its append id came to; in the order asked for.
pub(super) fn sessions(asked: &[Asked]) -> Script {
    let uuids = |id: fn(&Asked) -> Uuid| asked.iter().map(id).collect::<Vec<Uuid>>();
    let mut script = Script::new("SELECT ");
    script
        .sql(rows::HEAD)
        .sql(", r.first_seq, r.last_seq, r.turn_then, r.at FROM unnest(")
        .bind(uuids(|asked| asked.key.workspace.uuid()))
        .sql("::uuid[]")
        .comma(uuids(|asked| asked.key.session.uuid()))
        .sql("::uuid[]")
        .comma(uuids(|asked| asked.id.uuid()))
        .sql("::uuid[]")
        .comma(asked.iter().map(|asked| asked.held).collect::<Vec<bool>>())
        .sql(
            "::boolean[]) WITH ORDINALITY AS a (workspace_id, id, append_id, held, asked)
             LEFT JOIN sessions s ON s.workspace_id = a.workspace_id AND s.id = a.id
             LEFT JOIN LATERAL (
                SELECT c.first_seq, c.first_seq + octet_length(c.ids) / 16 - 1 AS last_seq, c.turn AS turn_then, c.at
                FROM commits c WHERE c.append_id = a.append_id AND c.session = s.number
                UNION ALL
                SELECT c.first_seq, c.first_seq + octet_length(c.ids) / 16 - 1, c.turn, c.at
                FROM (SELECT * FROM commits c WHERE a.held AND c.session = s.number ORDER BY c.first_seq DESC LIMIT 1000) c
                WHERE c.holder_append_id = a.append_id
                UNION ALL
                SELECT p.first_seq, p.last_seq, p.turn, p.at
                FROM appends p WHERE p.append_id = a.append_id AND p.session = s.number LIMIT 1) r ON true
             ORDER BY a.asked",
        );
    script
}

/// Reads the answer of [`sessions`].
pub(super) fn found(rows: &[PgRow], asked: &[Asked]) -> Vec<Parsed<Option<Found>>> {
    rows.iter().zip(asked).map(|(row, asked)| one(row, asked.key)).collect()
}

fn one(row: &PgRow, key: SessionKey) -> Parsed<Option<Found>> {
    let cells = Cells {
        row,
        table: "sessions",
        key: key.session.to_string(),
    };
    if cells.get::<Option<i64>>("number")?.is_none() {
        return Ok(None);
    }
    Ok(Some(Found {
        known: rows::known(&cells)?,
        replay: rows::outcome(&cells)?.filter(|_| !crate::log::sabotage::dedupe()),
    }))
}

/// What was remembered under a key, and the time.
pub(super) fn remembered(time: &Time, workspace: WorkspaceId, asked: &Idempotency) -> Script {
    let mut script = time.script();
    script
        .sql(
            " SELECT c.now, i.body_hash, i.session_id, i.first_seq, i.last_seq, i.turn AS turn_then, i.at
             FROM clock c LEFT JOIN idempotency i ON i.workspace_id = ",
        )
        .bind(workspace.uuid())
        .sql(" AND i.scope = ")
        .bind(asked.scope.as_str())
        .sql(" AND i.key = ")
        .bind(asked.key.as_str());
    script
}

/// Reads the answer of [`remembered`].
pub(super) fn recalled(rows: &[PgRow], asked: &Idempotency) -> Parsed<Option<(Option<Remembered>, Timestamp)>> {
    let read = |row| {
        let key = asked.key.clone();
        remembered_in(&Cells {
            row,
            table: "idempotency",
            key,
        })
    };
    rows.first().map(read).transpose()
}

fn remembered_in(cells: &Cells<'_>) -> Parsed<(Option<Remembered>, Timestamp)> {
    let now = cells.time("now")?;
    let Some(outcome) = rows::outcome(cells)? else {
        return Ok((None, now));
    };
    let stored = Remembered {
        body_hash: cells.get("body_hash")?,
        session: cells.id("session_id")?,
        outcome,
    };
    Ok((Some(stored), now))
}

/// Where the tool uses an append names stand, and what clients answered to them.
pub(super) fn tools(number: i64, ids: &[EventId]) -> Script {
    let mut script = Script::new(
        "SELECT (SELECT c.first_seq FROM commits c WHERE c.session = t.session AND position(uuid_send(t.id) IN c.ids) > 0
            ORDER BY c.first_seq DESC LIMIT 1) AS first_seq,
            EXISTS (SELECT FROM answers a WHERE a.event_id = t.id AND a.session = t.session AND a.way = ",
    );
    script
        .bind(Answer::Confirmation.as_str())
        .sql(") AS confirmed, EXISTS (SELECT FROM answers a WHERE a.event_id = t.id AND a.session = t.session AND a.way = ")
        .bind(Answer::Result.as_str())
        .sql(") AS resulted FROM (SELECT u.id, u.n, ")
        .bind(number)
        .sql(" AS session FROM unnest(")
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>())
        .sql("::uuid[]) WITH ORDINALITY AS u (id, n)) t ORDER BY t.n");
    script
}

/// A tool use, and the row of the log from which on it is to be followed.
pub(super) type Standing = (Follow, Option<u64>);

/// Reads the answer of [`tools`].
pub(super) fn standing(rows: &[PgRow], ids: &[EventId]) -> Result<Vec<Standing>, sqlx::Error> {
    let tool = |(row, id): (&PgRow, &EventId)| {
        let first_seq: Option<i64> = row.try_get("first_seq")?;
        let tool = ToolUse {
            confirmed: row.try_get("confirmed")?,
            resulted: row.try_get("resulted")?,
            ..ToolUse::default()
        };
        Ok((
            Follow { id: *id, tool },
            first_seq.and_then(|seq| u64::try_from(seq).ok()),
        ))
    };
    rows.iter().zip(ids).map(tool).collect()
}

/// A piece of a log.
pub(super) fn piece(number: i64, span: Span) -> Script {
    let mut script = Script::new("SELECT ");
    script
        .sql(rows::COMMIT)
        .sql(" FROM commits c WHERE c.session = ")
        .bind(number)
        .sql(" AND c.first_seq >= ")
        .bind(rows::integer(span.low))
        .sql(" AND c.first_seq <= ")
        .bind(rows::integer(span.high))
        .sql(" ORDER BY c.first_seq");
    script
}

/// What a statement answers for each row it moved.
pub(super) struct Moved {
    pub(super) number: i64,
    pub(super) ready_at: Option<DateTime<Utc>>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) archived_at: Option<DateTime<Utc>>,
    pub(super) deleted_at: Option<DateTime<Utc>>,
    pub(super) now: DateTime<Utc>,
}

/// Reads the answer of [`super::write`]'s statements.
pub(super) fn moved(rows: &[PgRow]) -> Result<Vec<Moved>, sqlx::Error> {
    let one = |row: &PgRow| -> Result<Moved, sqlx::Error> {
        Ok(Moved {
            number: row.try_get("number")?,
            ready_at: row.try_get("ready_at")?,
            updated_at: row.try_get("updated_at")?,
            archived_at: row.try_get("archived_at")?,
            deleted_at: row.try_get("deleted_at")?,
            now: row.try_get("now")?,
        })
    };
    rows.iter().map(one).collect()
}
