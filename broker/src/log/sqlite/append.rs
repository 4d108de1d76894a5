//! Append: one look at the session, then everything written in one go.

use async_trait::async_trait;
use perennial_engine::ports::{Append, AppendError, Appended, Authority, Idempotency, SessionKey, StoreError};
use perennial_schema::{EventId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection, query, query_scalar};

use super::failure::{self, Halt, refuse};
use super::idempotency;
use super::rows::{self, Cells, Stored as _, integer};
use super::script::Script;
use super::write::{self, Place};
use super::writer::Verb;
use crate::limits;
use crate::log::rules::{self, Head, Outcome, ToolUse};

#[async_trait]
impl Verb for Append {
    type Answer = Appended;
    type Refusal = AppendError;

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Appended, Halt<AppendError>> {
        let found = look(db, self).await?.ok_or(Halt::Refused(AppendError::NotFound))?;
        if let Some(outcome) = found.replay {
            return Ok(outcome.appended(self.key.session, true));
        }
        let idempotency = idempotency_of(self);
        if let Some(earlier) = earlier(db, self.key, idempotency, now).await? {
            return Ok(earlier);
        }
        let judged = judge(self, found, now).map_err(Halt::Refused)?;
        let mut tools = look_at_tools(db, judged.place.number, rules::tool_uses(self)).await?;
        rules::check_answers(self, &mut tools).map_err(Halt::Refused)?;
        match script(self, &judged).run(db).await {
            Ok(()) => Ok(judged.outcome.appended(self.key.session, false)),
            Err(error) => Err(write::failed(error, self.key)),
        }
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.payload.len()).sum()
    }
}

/// What is there before the append.
pub(super) struct Found {
    number: i64,
    head: Head,
    pub(super) replay: Option<Outcome>,
}

/// An append that may happen, and what it comes to.
pub(super) struct Judged {
    pub(super) place: Place,
    pub(super) before: Head,
    pub(super) after: Head,
    pub(super) outcome: Outcome,
}

/// Whether the append may happen, as far as the row can say.
pub(super) fn judge(append: &Append, found: Found, now: Timestamp) -> Result<Judged, AppendError> {
    found.head.admit(append)?;
    if found.head.head + append.events.len() as u64 > limits::LAST_SEQ {
        return Err(failure::unavailable("the session's log is full: fork it").into());
    }
    let mut after = found.head.clone();
    let outcome = after.advance(append, now);
    Ok(Judged {
        place: Place {
            key: append.key,
            number: found.number,
        },
        before: found.head,
        after,
        outcome,
    })
}

/// The columns [`found`] reads, of a session `s` and an earlier append `a`.
pub(super) const FOUND: &str = "a.first_seq, a.last_seq, a.turn AS turn_then, a.at";

/// The session's row, and what an earlier append under the same id came to.
async fn look(db: &mut SqliteConnection, append: &Append) -> Result<Option<Found>, Halt<AppendError>> {
    let sql = format!(
        "SELECT {}, {FOUND}
         FROM sessions s LEFT JOIN appends a ON a.session = s.number AND a.append_id = ?
         WHERE s.workspace_id = ? AND s.id = ?",
        rows::HEAD
    );
    let row = query(AssertSqlSafe(sql))
        .bind(append.append_id.stored())
        .bind(append.key.workspace.stored())
        .bind(append.key.session.stored())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    found(&row, append).map(Some).map_err(refuse)
}

/// Reads what is there before the append.
pub(super) fn found(row: &SqliteRow, append: &Append) -> Result<Found, StoreError> {
    let cells = Cells {
        row,
        table: "sessions",
        key: append.key.session.to_string(),
    };
    Ok(Found {
        number: cells.get("number")?,
        head: rows::head(&cells)?,
        replay: replay(&cells)?,
    })
}

fn replay(cells: &Cells<'_>) -> Result<Option<Outcome>, StoreError> {
    let Some(at) = cells.maybe_time("at")? else {
        return Ok(None);
    };
    Ok(Some(Outcome {
        first_seq: cells.count("first_seq")?,
        last_seq: cells.count("last_seq")?,
        turn: cells.count("turn_then")?,
        at,
    }))
}

pub(super) fn idempotency_of(append: &Append) -> Option<&Idempotency> {
    match &append.authority {
        Authority::Client { idempotency, .. } => idempotency.as_ref(),
        Authority::Holder { .. } => None,
    }
}

async fn earlier(
    db: &mut SqliteConnection,
    key: SessionKey,
    asked: Option<&Idempotency>,
    now: Timestamp,
) -> Result<Option<Appended>, Halt<AppendError>> {
    let Some(asked) = asked else { return Ok(None) };
    let stored = idempotency::find(db, key.workspace, asked).await?;
    rules::recall(asked, stored.as_ref(), Some(key.session), now).map_err(Halt::Refused)
}

async fn look_at_tools(
    db: &mut SqliteConnection,
    number: i64,
    ids: Vec<EventId>,
) -> Result<Vec<(EventId, ToolUse)>, sqlx::Error> {
    let mut tools = Vec::with_capacity(ids.len());
    for id in ids {
        let tool: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT kind, awaits FROM events WHERE session = ? AND id = ?")
                .bind(number)
                .bind(id.stored())
                .fetch_optional(&mut *db)
                .await?;
        let ways: Vec<String> = query_scalar("SELECT way FROM answers WHERE session = ? AND event_id = ?")
            .bind(number)
            .bind(id.stored())
            .fetch_all(&mut *db)
            .await?;
        let (kind, awaits) = tool.unzip();
        let has = |way: perennial_schema::event::Answer| ways.iter().any(|stored| stored == way.as_str());
        tools.push((
            id,
            ToolUse {
                kind,
                awaits: awaits.flatten(),
                confirmed: has(perennial_schema::event::Answer::Confirmation),
                resulted: has(perennial_schema::event::Answer::Result),
            },
        ));
    }
    Ok(tools)
}

fn script(append: &Append, judged: &Judged) -> Script {
    let mut script = Script::new();
    let entry = [entry(append, judged)];
    write::entries(&mut script, &entry);
    write::head(&mut script, judged.place, &judged.before, &judged.after);
    write::patch(&mut script, judged.place, &append.projection.patch);
    if let Some(asked) = idempotency_of(append) {
        idempotency::remember(&mut script, append.key, asked, judged.outcome);
    }
    script
}

/// What the append puts into the log.
pub(super) fn entry<'a>(append: &'a Append, judged: &Judged) -> write::Entry<'a> {
    write::Entry {
        place: judged.place,
        append_id: append.append_id,
        events: &append.events,
        processed: &append.projection.processed,
        outcome: judged.outcome,
    }
}

/// An append's number columns as they are bound in several tables.
pub(super) fn bind_outcome(script: &mut Script, outcome: Outcome) {
    script
        .bind(integer(outcome.first_seq))
        .bind(integer(outcome.last_seq))
        .bind(integer(outcome.turn))
        .bind(outcome.at.micros());
}
