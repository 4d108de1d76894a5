//! Reading logs: the tail, one event, a filtered listing. A row of the log never changes, so pieces read one after another fit
//! together.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use perennial_engine::ports::{EventFilter, ReadFrom, SessionKey, StoreError, TimeBounds};
use perennial_schema::event::Record;
use perennial_schema::{EventId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqlitePool, query, query_scalar};

use super::failure;
use super::rows::{self, Cells, Stored as _, integer};
use crate::limits;
use crate::log::packed::Commit;
use crate::log::reading::{self, Listing, Page, Span};

/// The rows of a session that hold a span, in order; the first may begin before it.
fn rows_of(span: Span, key: SessionKey) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(rows::COMMIT)
        .push(
            " FROM sessions s JOIN commits c ON c.position >= coalesce((SELECT max(p.position) FROM commits p
                WHERE p.position > s.number << 32 AND p.position <= (s.number << 32) + ",
        )
        .push_bind(integer(span.low))
        .push("), (s.number << 32) + 1) AND c.position <= (s.number << 32) + ")
        .push_bind(integer(span.high))
        .push(" AND c.position + length(c.ids) / 16 > (s.number << 32) + ")
        .push_bind(integer(span.low));
    of(&mut sql, key);
    sql.push(" ORDER BY c.position");
    sql
}

fn of(sql: &mut QueryBuilder<Sqlite>, key: SessionKey) {
    sql.push(" WHERE s.workspace_id = ")
        .push_bind(key.workspace.stored())
        .push(" AND s.id = ")
        .push_bind(key.session.stored());
}

fn failed(error: &sqlx::Error) -> StoreError {
    failure::before_commit(error)
}

/// Events after a seq.
pub(super) async fn tail(pool: &SqlitePool, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
    let Some(span) = Span::tail(from) else {
        return Ok(Vec::new());
    };
    let mut sql = rows_of(span, key);
    let mut found = sql.build().fetch(pool);
    let mut page = Page::new(span);
    while let Some(row) = found.try_next().await.map_err(|error| failed(&error))? {
        if !page.take(&rows::commit(&row, key.session)?)? {
            break;
        }
    }
    Ok(page.records)
}

/// One event by id: the newest row that names it.
pub(super) async fn one(pool: &SqlitePool, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
    let sql = format!(
        "SELECT {} FROM sessions s
         JOIN commits c ON c.position > s.number << 32 AND c.position <= (s.number << 32) + s.head AND instr(c.ids, ?) > 0
         WHERE s.workspace_id = ? AND s.id = ? ORDER BY c.position DESC",
        rows::COMMIT
    );
    let mut found = query(AssertSqlSafe(sql))
        .bind(id.stored())
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .fetch(pool);
    while let Some(row) = found.try_next().await.map_err(|error| failed(&error))? {
        if let Some(record) = reading::by_id(&rows::commit(&row, key.session)?, id)? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// A filtered listing with the stamps of processed inputs.
pub(super) async fn list(pool: &SqlitePool, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
    let head = if filter.descending { head(pool, key).await? } else { 0 };
    let mut listing = Listing::new(filter, head);
    while let Some(span) = listing.next() {
        let rows = rows_of(span, key)
            .build()
            .fetch_all(pool)
            .await
            .map_err(|error| failed(&error))?;
        let commits = commits(&rows, key)?;
        let candidates = listing.look(span, &commits)?;
        let stamps = stamps(pool, key, &reading::unstamped(&candidates)).await?;
        listing.keep(candidates, &stamps);
    }
    Ok(listing.records)
}

fn commits(rows: &[SqliteRow], key: SessionKey) -> Result<Vec<Commit<'_>>, StoreError> {
    rows.iter().map(|row| rows::commit(row, key.session)).collect()
}

async fn head(pool: &SqlitePool, key: SessionKey) -> Result<u64, StoreError> {
    let head: Option<i64> = query_scalar("SELECT head FROM sessions WHERE workspace_id = ? AND id = ?")
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .fetch_optional(pool)
        .await
        .map_err(|error| failed(&error))?;
    Ok(head.and_then(|head| u64::try_from(head).ok()).unwrap_or(0))
}

/// When inputs were processed.
async fn stamps(
    pool: &SqlitePool,
    key: SessionKey,
    ids: &[EventId],
) -> Result<HashMap<EventId, Timestamp>, StoreError> {
    let mut stamps = HashMap::new();
    for ids in ids.chunks(limits::ROWS_PER_INSERT) {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT p.event_id, p.at FROM sessions s JOIN processed p ON p.session = s.number AND p.event_id IN (",
        );
        let mut list = sql.separated(", ");
        for id in ids {
            list.push_bind(id.stored());
        }
        sql.push(")");
        of(&mut sql, key);
        for row in sql.build().fetch_all(pool).await.map_err(|error| failed(&error))? {
            let cells = Cells {
                row: &row,
                table: "processed",
                key: key.session.to_string(),
            };
            stamps.insert(cells.id("event_id")?, cells.time("at")?);
        }
    }
    Ok(stamps)
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
