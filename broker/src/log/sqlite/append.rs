//! Append: one look at the session, then everything written in one go.

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use perennial_engine::ports::{Append, AppendError, Appended, Authority, Idempotency, SessionKey, StoreError};
use perennial_schema::event::Answer;
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
use crate::log::reading::Follow;
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
        let mut tools = look_at_tools(db, self.key, judged.place.number, rules::tool_uses(self)).await?;
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

impl Found {
    /// What is known of a session that was written before, for an append that was not.
    pub(super) fn known(number: i64, head: Head) -> Self {
        Self {
            number,
            head,
            replay: None,
        }
    }
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
    rules::check_ids(append.key, &append.events)?;
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

/// The columns [`found`] reads, of a session `s` and an earlier append: `c` with its events, or `a` without any.
pub(super) const FOUND: &str = "coalesce(c.position & 4294967295, a.first_seq) AS first_seq,
    coalesce((c.position & 4294967295) + length(c.ids) / 16 - 1, a.last_seq) AS last_seq,
    coalesce(c.turn, a.turn) AS turn_then, coalesce(c.at, a.at) AS at";

/// The session's row, and what an earlier append under the same id came to.
async fn look(db: &mut SqliteConnection, append: &Append) -> Result<Option<Found>, Halt<AppendError>> {
    let sql = format!(
        "SELECT {}, {FOUND}
         FROM sessions s LEFT JOIN commits c ON c.append_id = ?1 AND c.session = s.number
         LEFT JOIN appends a ON a.append_id = ?1 AND a.session = s.number
         WHERE s.workspace_id = ?2 AND s.id = ?3",
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
    key: SessionKey,
    number: i64,
    ids: Vec<EventId>,
) -> Result<Vec<(EventId, ToolUse)>, Halt<AppendError>> {
    let mut tools = Vec::with_capacity(ids.len());
    for id in ids {
        let ways: Vec<String> = query_scalar("SELECT way FROM answers WHERE session = ? AND event_id = ?")
            .bind(number)
            .bind(id.stored())
            .fetch_all(&mut *db)
            .await?;
        let has = |way: Answer| ways.iter().any(|stored| stored == way.as_str());
        let tool = ToolUse {
            confirmed: has(Answer::Confirmation),
            resulted: has(Answer::Result),
            ..ToolUse::default()
        };
        let mut follow = Follow { id, tool };
        let from: Option<i64> = query_scalar(
            "SELECT position FROM commits WHERE position > ?1 << 32 AND position < (?1 + 1) << 32 AND instr(ids, ?2) > 0
             ORDER BY position DESC LIMIT 1",
        )
        .bind(number)
        .bind(id.stored())
        .fetch_optional(&mut *db)
        .await?;
        if let Some(position) = from {
            let sql = format!(
                "SELECT {} FROM commits c WHERE c.position >= ? AND c.position < (? + 1) << 32 ORDER BY c.position",
                rows::COMMIT
            );
            let mut rows = query(AssertSqlSafe(sql)).bind(position).bind(number).fetch(&mut *db);
            while let Some(row) = rows.try_next().await? {
                let commit = rows::commit(&row, key.session).map_err(refuse)?;
                if !follow.look(&commit).map_err(refuse)? {
                    break;
                }
            }
        }
        tools.push((id, follow.tool));
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
        apart: append.events.is_empty(),
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
