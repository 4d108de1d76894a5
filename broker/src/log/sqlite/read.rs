//! Reading logs: the tail, one event, a filtered listing. Each is one statement, so it sees one moment.

use futures_util::TryStreamExt as _;
use perennial_engine::ports::{EventFilter, ReadFrom, SessionKey, StoreError, TimeBounds};
use perennial_schema::event::{self, Domain, Record};
use perennial_schema::{EventId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, Sqlite, SqlitePool, query};

use super::failure;
use super::rows::{self, Stored as _, integer};
use crate::limits;

/// Events after a seq.
pub(super) async fn tail(pool: &SqlitePool, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
    let sql = format!(
        "SELECT {} FROM sessions s
         JOIN events e ON e.position > (s.number << 32) + ? AND e.position <= (s.number << 32) + s.head
         WHERE s.workspace_id = ? AND s.id = ? ORDER BY e.position LIMIT ?",
        rows::RECORD
    );
    let mut found = query(AssertSqlSafe(sql))
        .bind(integer(from.after.min(limits::LAST_SEQ)))
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .bind(from.limit)
        .fetch(pool);
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = found.try_next().await.map_err(|error| failure::before_commit(&error))? {
        let record = rows::record(&row, key.session)?;
        bytes += record.payload.len() + record.private.as_ref().map_or(0, String::len);
        if bytes > limits::READ_BYTES && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

/// One event by id.
pub(super) async fn one(pool: &SqlitePool, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
    let sql = format!(
        "SELECT {} FROM sessions s JOIN events e ON e.session = s.number AND e.id = ?
         WHERE s.workspace_id = ? AND s.id = ?",
        rows::RECORD
    );
    let row = query(AssertSqlSafe(sql))
        .bind(id.stored())
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .fetch_optional(pool)
        .await
        .map_err(|error| failure::before_commit(&error))?;
    row.map(|row| rows::record(&row, key.session)).transpose()
}

/// A filtered listing with the stamps of processed inputs.
pub(super) async fn list(pool: &SqlitePool, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
    sql.push(rows::RECORD)
        .push(", p.at AS stamped FROM sessions s JOIN events e ON e.position > (s.number << 32) + ")
        .push_bind(low(&filter))
        .push(" AND e.position < (s.number << 32) + ")
        .push_bind(high(&filter))
        .push(" LEFT JOIN processed p ON p.session = s.number AND p.event_id = e.id WHERE s.workspace_id = ")
        .push_bind(key.workspace.stored())
        .push(" AND s.id = ")
        .push_bind(key.session.stored());
    if let Some(kinds) = kinds(&filter) {
        sql.push(" AND e.kind IN (SELECT value FROM json_each(")
            .push_bind(kinds)
            .push("))");
    }
    within(&mut sql, "coalesce(e.processed_at, p.at)", filter.created);
    sql.push(if filter.descending {
        " ORDER BY e.position DESC"
    } else {
        " ORDER BY e.position"
    })
    .push(" LIMIT ")
    .push_bind(filter.limit);
    let found = sql
        .build()
        .fetch_all(pool)
        .await
        .map_err(|error| failure::before_commit(&error))?;
    found.iter().map(|row| overlaid(row, key)).collect()
}

fn low(filter: &EventFilter) -> i64 {
    let cursor = filter.cursor.filter(|_| !filter.descending).unwrap_or(0);
    integer(cursor.min(limits::LAST_SEQ))
}

fn high(filter: &EventFilter) -> i64 {
    let end = limits::LAST_SEQ + 1;
    integer(filter.cursor.filter(|_| filter.descending).unwrap_or(end).min(end))
}

/// The types to show, as a JSON array; none means all.
fn kinds(filter: &EventFilter) -> Option<String> {
    if !filter.types.is_empty() {
        return Some(super::write::text(&filter.types));
    }
    if filter.include_extensions {
        return None;
    }
    let public = |(kind, domain): &(&'static str, Domain)| (*domain != Domain::Extension).then_some(*kind);
    let kinds: Vec<&str> = event::KINDS.iter().filter_map(public).collect();
    Some(super::write::text(&kinds))
}

/// Adds bounds on a time column.
pub(super) fn within(sql: &mut QueryBuilder<Sqlite>, column: &'static str, bounds: TimeBounds) {
    let bounds = [
        (" > ", bounds.gt),
        (" >= ", bounds.gte),
        (" < ", bounds.lt),
        (" <= ", bounds.lte),
    ];
    for (operator, bound) in bounds {
        if let Some(bound) = bound {
            sql.push(" AND ").push(column).push(operator).push_bind(bound.micros());
        }
    }
}

fn overlaid(row: &SqliteRow, key: SessionKey) -> Result<Record, StoreError> {
    let mut record = rows::record(row, key.session)?;
    let stamped: Option<i64> = row.try_get("stamped").map_err(|error| failure::before_commit(&error))?;
    if let Some(at) = stamped {
        record.payload = event::with_processed_at(&record.payload, Timestamp::from_micros(at));
    }
    Ok(record)
}
