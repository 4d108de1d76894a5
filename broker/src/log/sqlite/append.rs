//! Append: one look at the session, then everything written in one go.

use async_trait::async_trait;
use perennial_engine::ports::{Append, AppendError, Appended, Authority, Idempotency, SessionKey, StoreError};
use perennial_schema::{EventId, Timestamp};
use sqlx::{AssertSqlSafe, SqliteConnection, query, query_scalar};

use super::failure::{self, Halt, refuse};
use super::rows::{self, Cells, Stored as _, integer};
use super::script::Script;
use super::writer::Verb;
use super::{idempotency, write};
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
        found.head.admit(self).map_err(Halt::Refused)?;
        if found.head.head + self.events.len() as u64 > limits::LAST_SEQ {
            return Err(refuse(failure::unavailable("the session's log is full: fork it")));
        }
        let mut tools = look_at_tools(db, found.number, rules::tool_uses(self)).await?;
        rules::check_answers(self, &mut tools).map_err(Halt::Refused)?;

        let mut head = found.head.clone();
        let outcome = head.advance(self, now);
        let script = script(self, &found, &head, outcome);
        match script.run(db).await {
            Ok(()) => Ok(outcome.appended(self.key.session, false)),
            Err(error) => Err(write::failed(error, self.key)),
        }
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.payload.len()).sum()
    }
}

/// What is there before the append.
struct Found {
    number: i64,
    head: Head,
    replay: Option<Outcome>,
}

/// The session's row, and what an earlier append under the same id came to.
async fn look(db: &mut SqliteConnection, append: &Append) -> Result<Option<Found>, Halt<AppendError>> {
    let sql = format!(
        "SELECT {}, a.first_seq, a.last_seq, a.turn AS turn_then, a.at
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
    let cells = Cells {
        row: &row,
        table: "sessions",
        key: append.key.session.to_string(),
    };
    let found = || -> Result<Found, StoreError> {
        Ok(Found {
            number: cells.get("number")?,
            head: rows::head(&cells)?,
            replay: replay(&cells)?,
        })
    };
    found().map(Some).map_err(refuse)
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

fn idempotency_of(append: &Append) -> Option<&Idempotency> {
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

fn script(append: &Append, found: &Found, head: &Head, outcome: Outcome) -> Script {
    let place = write::Place {
        key: append.key,
        number: found.number,
    };
    let holder = matches!(append.authority, Authority::Holder { .. });
    let mut script = Script::new();
    write::events(&mut script, place, &append.events, outcome);
    write::answers(&mut script, place, &append.events, outcome, holder);
    write::processed(&mut script, place, append, outcome);
    write::outcome(&mut script, place, append.append_id, outcome);
    write::head(&mut script, place, &found.head, head);
    write::patch(&mut script, place, &append.projection.patch);
    if let Some(asked) = idempotency_of(append) {
        idempotency::remember(&mut script, append.key, asked, outcome);
    }
    script
}

/// An append's number columns as they are bound in several tables.
pub(super) fn bind_outcome(script: &mut Script, outcome: Outcome) {
    script
        .bind(integer(outcome.first_seq))
        .bind(integer(outcome.last_seq))
        .bind(integer(outcome.turn))
        .bind(outcome.at.micros());
}
