//! Rows as values. A cell that does not parse names its table and key; it is never skipped and never a panic.

use chrono::{DateTime, Utc};
use perennial_engine::ports::{BudgetHold, ChangeCursor, SessionKey, SessionRow, StoreError};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{
    AgentId, AppendId, BudgetId, EnvironmentId, EventId, ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId,
};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};
use uuid::Uuid;

use crate::limits::TELLING_BYTES;
use crate::log::packed::Commit;
use crate::log::reading::told;
use crate::log::rules::{Head, Outcome};

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn of(uuid: Uuid) -> Self { Self::from_uuid(uuid) }
        }
    )*};
}

/// Ids are uuids.
pub(super) trait Id {
    fn of(uuid: Uuid) -> Self;
}

ids!(
    WorkspaceId,
    SessionId,
    EventId,
    AgentId,
    EnvironmentId,
    ExecutorId,
    OwnerId,
    AppendId,
    BudgetId
);

/// A number as it is stored. Counters saturate: Postgres' integers are signed.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as JSON text. Our own types encode; one that did not would be read back as inconsistent.
pub(super) fn text<V: serde::Serialize + ?Sized>(value: &V) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A row and how to name it when it does not parse.
pub(super) struct Cells<'r> {
    pub(super) row: &'r PgRow,
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

    pub(super) fn get<'r, V: Decode<'r, Postgres> + Type<Postgres>>(&'r self, column: &str) -> Result<V, StoreError> {
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
        self.get::<DateTime<Utc>>(column).map(Timestamp::from)
    }

    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<DateTime<Utc>> = self.get(column)?;
        Ok(at.map(Timestamp::from))
    }

    pub(super) fn id<I: Id>(&self, column: &str) -> Result<I, StoreError> {
        self.get(column).map(I::of)
    }

    pub(super) fn maybe_id<I: Id>(&self, column: &str) -> Result<Option<I>, StoreError> {
        let uuid: Option<Uuid> = self.get(column)?;
        Ok(uuid.map(I::of))
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
pub(super) const HEAD: &str = "s.number, s.revision, s.head, s.epoch, s.owner, s.status, s.stop_reason, s.turn,
    s.ready_at, s.attempts, s.quarantined, s.input_tokens, s.output_tokens, s.cache_creation_input_tokens,
    s.cache_read_input_tokens, s.place, s.budget_hold, s.budget_need, s.telling, s.updated_at, s.archived_at, s.deleted_at";

/// A session's hot columns as of a revision: what a writer says it saw.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) number: i64,
    pub(super) revision: i64,
    pub(super) head: Head,
}

/// Reads the hot columns.
pub(super) fn known(cells: &Cells<'_>) -> Result<Known, StoreError> {
    let status: &str = cells.get("status")?;
    let attempts: i32 = cells.get("attempts")?;
    let head = Head {
        head: cells.count("head")?,
        epoch: cells.count("epoch")?,
        owner: cells.maybe_id("owner")?,
        status: Status::parse(status).ok_or_else(|| cells.broken("status", format!("{status:?} is no status")))?,
        stop_reason: cells.maybe_json::<StopReason>("stop_reason")?,
        turn: cells.count("turn")?,
        ready_at: cells.maybe_time("ready_at")?,
        attempts: u32::try_from(attempts).map_err(|error| cells.broken("attempts", error))?,
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
    };
    Ok(Known {
        number: cells.get("number")?,
        revision: cells.get("revision")?,
        head,
    })
}

fn hold(cells: &Cells<'_>) -> Result<Option<BudgetHold>, StoreError> {
    let Some(budget) = cells.maybe_id("budget_hold")? else {
        return Ok(None);
    };
    let need = cells.count("budget_need")?;
    Ok(Some(BudgetHold { budget, need }))
}

/// What [`session`] reads beside the head, of `sessions s`, `session_details d` and `clock c`. What happened last is not told.
pub(super) fn session_columns() -> String {
    format!(
        "{}, NULL::bytea AS telling_ids, NULL::bytea AS telling_events",
        columns()
    )
}

/// The same and what happened last, of [`TELLING`] as well.
pub(super) fn telling_columns() -> String {
    format!(
        "{}, t.ids AS telling_ids, CASE WHEN octet_length(t.events) <= {TELLING_BYTES} THEN t.events END AS telling_events",
        columns()
    )
}

fn columns() -> String {
    format!(
        "{HEAD}, s.workspace_id, s.id, s.created_at, s.changed::text AS changed, d.agent, d.environment_id, d.environment,
        d.title, d.metadata, d.resources, d.vault_ids, d.budget,
        EXISTS (SELECT FROM owners o WHERE o.owner = s.owner AND {}) AS held",
        super::clock::ALIVE
    )
}

/// The commit with what happened last in a session.
pub(super) const TELLING: &str = "LEFT JOIN commits t ON t.session = s.number AND t.first_seq = s.telling";

/// Reads a whole session.
pub(super) fn session(row: &PgRow) -> Result<SessionRow, StoreError> {
    seen(row).map(|(session, _)| session)
}

/// The same, and what of it a writer sees.
pub(super) fn seen(row: &PgRow) -> Result<(SessionRow, Known), StoreError> {
    let mut cells = Cells {
        row,
        table: "sessions",
        key: String::from("unknown"),
    };
    let key = key(&cells)?;
    cells.key = key.session.to_string();
    let known = known(&cells)?;
    let head = known.head.clone();
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
        title: cells.maybe_json("title")?,
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

/// A session's whole key.
pub(super) fn key(cells: &Cells<'_>) -> Result<SessionKey, StoreError> {
    Ok(SessionKey {
        workspace: cells.id("workspace_id")?,
        session: cells.id("id")?,
    })
}

/// Reads a whole session and its place in the order of changes.
pub(super) fn change(row: &PgRow) -> Result<(ChangeCursor, SessionRow), StoreError> {
    let session = session(row)?;
    let cells = Cells {
        row,
        table: "sessions",
        key: session.key.session.to_string(),
    };
    let changed: &str = cells.get("changed")?;
    let cursor = ChangeCursor {
        commit: changed.parse().map_err(|error| cells.broken("changed", error))?,
        position: cells.count("number")?,
    };
    Ok((cursor, session))
}

/// The columns [`commit`] reads, of a table called `c`; by place, because logs are long.
pub(super) const COMMIT: &str = "c.first_seq, c.turn, c.at, c.ids, c.events";

/// Reads a row of the log.
pub(super) fn commit(row: &PgRow, session: SessionId) -> Result<Commit<'_>, StoreError> {
    let read = || -> Result<Commit<'_>, sqlx::Error> {
        let (first_seq, turn): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Commit {
            session,
            first_seq: u64::try_from(first_seq).unwrap_or(0),
            turn: u64::try_from(turn).unwrap_or(0),
            at: Timestamp::from(row.try_get::<DateTime<Utc>, _>(2)?),
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

/// Reads `first_seq, last_seq, turn_then, at`; none when there is no such append.
pub(super) fn outcome(cells: &Cells<'_>) -> Result<Option<Outcome>, StoreError> {
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
