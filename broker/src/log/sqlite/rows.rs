//! Rows as values. A cell that does not parse names its table and key; it is never skipped and never a panic.

use perennial_engine::ports::{BudgetHold, ChangeCursor, SessionKey, SessionRow, StoreError};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{
    AgentId, BudgetId, EnvironmentId, EventId, ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId,
};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};
use uuid::Uuid;

use crate::limits::{self, TELLING_BYTES};
use crate::log::packed::Commit;
use crate::log::reading::told;
use crate::log::rules::Head;

/// An id as it is stored.
macro_rules! stored_ids {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn of(uuid: Uuid) -> Self { Self::from_uuid(uuid) }
        }
        impl Stored for $name {
            fn stored(self) -> Vec<u8> { self.uuid().as_bytes().to_vec() }
        }
    )*};
}

/// Ids come as 16 bytes.
pub(super) trait Id {
    fn of(uuid: Uuid) -> Self;
}

/// Ids go as 16 bytes.
pub(super) trait Stored {
    fn stored(self) -> Vec<u8>;
}

stored_ids!(
    WorkspaceId,
    SessionId,
    EventId,
    AgentId,
    EnvironmentId,
    ExecutorId,
    OwnerId,
    BudgetId
);

impl Stored for perennial_schema::AppendId {
    fn stored(self) -> Vec<u8> {
        self.uuid().as_bytes().to_vec()
    }
}

/// A number as it is stored. Counters saturate: SQLite's integers are signed.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row and how to name it when it does not parse.
pub(super) struct Cells<'r> {
    pub(super) row: &'r SqliteRow,
    pub(super) table: &'static str,
    pub(super) key: String,
}

impl Cells<'_> {
    /// The error that names this row.
    pub(super) fn broken(&self, column: &str, what: impl std::fmt::Display) -> StoreError {
        StoreError::Inconsistent {
            table: self.table,
            key: self.key.clone(),
            message: format!("column {column}: {what}"),
        }
    }

    pub(super) fn get<'r, V: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: &str) -> Result<V, StoreError> {
        self.row.try_get(column).map_err(|error| self.broken(column, error))
    }

    pub(super) fn count(&self, column: &str) -> Result<u64, StoreError> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map_err(|error| self.broken(column, error))
    }

    pub(super) fn maybe_count(&self, column: &str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        let parse = |number| u64::try_from(number).map_err(|error| self.broken(column, error));
        number.map(parse).transpose()
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_micros)
    }

    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        let micros: Option<i64> = self.get(column)?;
        Ok(micros.map(Timestamp::from_micros))
    }

    pub(super) fn id<I: Id>(&self, column: &str) -> Result<I, StoreError> {
        let bytes: &[u8] = self.get(column)?;
        let uuid = Uuid::from_slice(bytes).map_err(|error| self.broken(column, error))?;
        Ok(I::of(uuid))
    }

    pub(super) fn maybe_id<I: Id>(&self, column: &str) -> Result<Option<I>, StoreError> {
        let bytes: Option<&[u8]> = self.get(column)?;
        let parse = |bytes| {
            Uuid::from_slice(bytes)
                .map(I::of)
                .map_err(|error| self.broken(column, error))
        };
        bytes.map(parse).transpose()
    }

    pub(super) fn json<V: DeserializeOwned>(&self, column: &str) -> Result<V, StoreError> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| self.broken(column, error))
    }

    pub(super) fn maybe_json<V: DeserializeOwned>(&self, column: &str) -> Result<Option<V>, StoreError> {
        let text: Option<&str> = self.get(column)?;
        let parse = |text| serde_json::from_str(text).map_err(|error| self.broken(column, error));
        text.map(parse).transpose()
    }
}

/// The columns [`head`] reads, of a table called `s`.
pub(super) const HEAD: &str =
    "s.number, s.head, s.epoch, s.owner, s.status, s.stop_reason, s.turn, s.ready_at, s.attempts,
    s.quarantined, s.input_tokens, s.output_tokens, s.cache_creation_input_tokens, s.cache_read_input_tokens,
    s.place, s.budget_hold, s.budget_need, s.telling, s.updated_at, s.archived_at, s.deleted_at";

/// Reads the hot columns.
pub(super) fn head(cells: &Cells<'_>) -> Result<Head, StoreError> {
    let status: &str = cells.get("status")?;
    let stop_reason: Option<StopReason> = cells.maybe_json("stop_reason")?;
    Ok(Head {
        head: cells.count("head")?,
        epoch: cells.count("epoch")?,
        owner: cells.maybe_id("owner")?,
        status: Status::parse(status).ok_or_else(|| cells.broken("status", format!("{status:?} is no status")))?,
        stop_reason,
        turn: cells.count("turn")?,
        ready_at: cells.maybe_time("ready_at")?,
        attempts: cells.get("attempts")?,
        quarantined: cells.get("quarantined")?,
        usage: Usage {
            input_tokens: cells.count("input_tokens")?,
            output_tokens: cells.count("output_tokens")?,
            cache_creation_input_tokens: cells.count("cache_creation_input_tokens")?,
            cache_read_input_tokens: cells.count("cache_read_input_tokens")?,
        },
        place: cells.maybe_id("place")?,
        hold: hold(cells)?,
        telling: cells.maybe_count("telling")?,
        updated_at: cells.time("updated_at")?,
        archived_at: cells.maybe_time("archived_at")?,
        deleted_at: cells.maybe_time("deleted_at")?,
    })
}

fn hold(cells: &Cells<'_>) -> Result<Option<BudgetHold>, StoreError> {
    let Some(budget) = cells.maybe_id("budget_hold")? else {
        return Ok(None);
    };
    let need = cells.count("budget_need")?;
    Ok(Some(BudgetHold { budget, need }))
}

/// Whole sessions and what happened last in them: `SELECT … FROM` for the columns [`session`] reads. The first value is now.
pub(super) fn select_sessions() -> String {
    format!(
        "SELECT {}, t.ids AS telling_ids, CASE WHEN length(t.events) <= {TELLING_BYTES} THEN t.events END AS telling_events
         FROM sessions s JOIN session_details d ON d.session = s.number
         LEFT JOIN commits t ON t.position = (s.number << 32 | s.telling)",
        columns("?")
    )
}

/// What [`session`] reads of `sessions s` and `session_details d`. What happened last is not told: whoever works on a session
/// reads its log.
pub(super) fn session_columns(now: &str) -> String {
    format!("{}, NULL AS telling_ids, NULL AS telling_events", columns(now))
}

fn columns(now: &str) -> String {
    format!(
        "{HEAD}, s.workspace_id, s.id, s.created_at, s.changed, d.agent, d.environment_id, d.environment, d.title, d.metadata,
            d.resources, d.vault_ids, d.budget,
            EXISTS (SELECT 1 FROM owners o WHERE o.owner = s.owner AND o.expires_at > {now}) AS held"
    )
}

/// Reads a whole session.
pub(super) fn session(row: &SqliteRow) -> Result<SessionRow, StoreError> {
    seen(row).map(|(session, _)| session)
}

/// The same, and its hot columns as a writer knows them.
pub(super) fn seen(row: &SqliteRow) -> Result<(SessionRow, Head), StoreError> {
    let mut cells = Cells {
        row,
        table: "sessions",
        key: String::from("unknown"),
    };
    let key = SessionKey {
        workspace: cells.id("workspace_id")?,
        session: cells.id("id")?,
    };
    cells.key = key.session.to_string();
    let known = head(&cells)?;
    let head = known.clone();
    let last_event = match (head.telling, cells.get("telling_ids")?, cells.get("telling_events")?) {
        (Some(first_seq), Some(ids), Some(events)) => told(key.session, first_seq, ids, events),
        _ => None,
    };
    let session = SessionRow {
        key,
        head: head.head,
        epoch: head.epoch,
        held: cells.get("held")?,
        status: head.status,
        stop_reason: head.stop_reason,
        turn: head.turn,
        ready_at: head.ready_at,
        attempts: head.attempts,
        quarantined: head.quarantined,
        usage: head.usage,
        place: head.place,
        hold: head.hold,
        last_event,
        agent: cells.json("agent")?,
        environment_id: cells.id("environment_id")?,
        environment: cells.json("environment")?,
        title: cells.get("title")?,
        metadata: cells.json("metadata")?,
        resources: cells.json("resources")?,
        vault_ids: cells.json("vault_ids")?,
        budget: cells.maybe_json("budget")?,
        created_at: cells.time("created_at")?,
        updated_at: head.updated_at,
        archived_at: head.archived_at,
        deleted_at: head.deleted_at,
    };
    Ok((session, known))
}

/// Reads a whole session and its place in the order of changes.
pub(super) fn change(row: &SqliteRow) -> Result<(ChangeCursor, SessionRow), StoreError> {
    let session = session(row)?;
    let cells = Cells {
        row,
        table: "sessions",
        key: session.key.session.to_string(),
    };
    let cursor = ChangeCursor {
        commit: cells.count("changed")?,
        position: cells.count("number")?,
    };
    Ok((cursor, session))
}

/// The columns [`commit`] reads, of a table called `c`; by place, because logs are long.
pub(super) const COMMIT: &str = "c.position, c.turn, c.at, c.ids, c.events";

/// Reads a row of the log.
pub(super) fn commit(row: &SqliteRow, session: SessionId) -> Result<Commit<'_>, StoreError> {
    let read = || -> Result<Commit<'_>, sqlx::Error> {
        let (position, turn): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Commit {
            session,
            first_seq: u64::try_from(position).unwrap_or(0) & limits::LAST_SEQ,
            turn: u64::try_from(turn).unwrap_or(0),
            at: Timestamp::from_micros(row.try_get(2)?),
            ids: row.try_get(3)?,
            events: row.try_get(4)?,
        })
    };
    read().map_err(|error| StoreError::Inconsistent {
        table: "commits",
        key: session.to_string(),
        message: error.to_string(),
    })
}
