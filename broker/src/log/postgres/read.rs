//! Reading logs: the tail, one event, a filtered listing. A row of the log never changes, so pieces read one after another fit
//! together.

use std::collections::HashMap;

use perennial_engine::ports::{EventFilter, ReadFrom, SessionKey, StoreError, TimeBounds};
use perennial_schema::event::Record;
use perennial_schema::{EventId, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::ask::Desk;
use super::rows::{self, Cells, integer};
use super::script::Script;
use crate::limits;
use crate::log::packed::Commit;
use crate::log::reading::{self, Listing, Page, Span};

/// The rows that hold a span of a log `s`, where `bound` is `number` or a value; the first may begin before it.
fn span(script: &mut Script, span: Span) {
    script
        .sql(" c.session = s.number AND c.first_seq >= coalesce((SELECT p.first_seq FROM commits p WHERE p.session = s.number AND p.first_seq <= ")
        .bind(integer(span.low))
        .sql(" ORDER BY p.first_seq DESC LIMIT 1), 0) AND c.first_seq <= ")
        .bind(integer(span.high))
        .sql(" AND c.first_seq + octet_length(c.ids) / 16 > ")
        .bind(integer(span.low));
}

fn of(script: &mut Script, key: SessionKey) {
    script
        .sql(" WHERE s.workspace_id = ")
        .bind(key.workspace.uuid())
        .sql(" AND s.id = ")
        .bind(key.session.uuid());
}

/// Events after a seq. The database stops at the byte bound, so that no page is much larger than promised on the wire either.
pub(super) async fn tail(desk: &Desk, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
    let Some(asked) = Span::tail(from) else {
        return Ok(Vec::new());
    };
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT e.first_seq, e.turn, e.at, e.ids, e.events FROM (SELECT ");
            script.sql(rows::COMMIT).sql(
                ", sum(octet_length(c.events)) OVER (ORDER BY c.first_seq) - octet_length(c.events) AS before
                 FROM sessions s JOIN commits c ON",
            );
            span(&mut script, asked);
            of(&mut script, key);
            script
                .sql(") e WHERE e.before <= ")
                .bind(i64::try_from(limits::READ_BYTES).unwrap_or(i64::MAX))
                .sql(" ORDER BY e.first_seq");
            script
        })
        .await?;
    let mut page = Page::new(asked);
    for row in &rows {
        if !page.take(&rows::commit(row, key.session)?)? {
            break;
        }
    }
    Ok(page.records)
}

/// One event by id: the newest row that names it.
pub(super) async fn one(desk: &Desk, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT ");
            script
                .sql(rows::COMMIT)
                .sql(" FROM sessions s JOIN commits c ON c.session = s.number AND position(uuid_send(")
                .bind(id.uuid())
                .sql(") IN c.ids) > 0");
            of(&mut script, key);
            script.sql(" ORDER BY c.first_seq DESC");
            script
        })
        .await?;
    for row in &rows {
        if let Some(record) = reading::by_id(&rows::commit(row, key.session)?, id)? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// A filtered listing with the stamps of processed inputs.
pub(super) async fn list(desk: &Desk, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
    let head = if filter.descending { head(desk, key).await? } else { 0 };
    let mut listing = Listing::new(filter, head);
    while let Some(asked) = listing.next() {
        let rows = desk
            .ask(move || {
                let mut script = Script::new("SELECT ");
                script.sql(rows::COMMIT).sql(" FROM sessions s JOIN commits c ON");
                span(&mut script, asked);
                of(&mut script, key);
                script.sql(" ORDER BY c.first_seq");
                script
            })
            .await?;
        let commits = commits(&rows, key)?;
        let candidates = listing.look(asked, &commits)?;
        let stamps = stamps(desk, key, reading::unstamped(&candidates)).await?;
        listing.keep(candidates, &stamps);
    }
    Ok(listing.records)
}

fn commits(rows: &[PgRow], key: SessionKey) -> Result<Vec<Commit<'_>>, StoreError> {
    rows.iter().map(|row| rows::commit(row, key.session)).collect()
}

async fn head(desk: &Desk, key: SessionKey) -> Result<u64, StoreError> {
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT s.head FROM sessions s");
            of(&mut script, key);
            script
        })
        .await?;
    let read = |row| {
        let key = key.session.to_string();
        let table = "sessions";
        Cells { row, table, key }.count("head")
    };
    rows.first().map_or(Ok(0), read)
}

/// When inputs were processed.
async fn stamps(desk: &Desk, key: SessionKey, ids: Vec<EventId>) -> Result<HashMap<EventId, Timestamp>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = ids.into_iter().map(EventId::uuid).collect();
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT p.event_id, p.at FROM sessions s JOIN processed p ON p.session = s.number AND p.event_id = ANY(");
            script.bind(ids.clone()).sql(")");
            of(&mut script, key);
            script
        })
        .await?;
    let read = |row| {
        let key = key.session.to_string();
        let table = "processed";
        let cells = Cells { row, table, key };
        Ok((cells.id("event_id")?, cells.time("at")?))
    };
    rows.iter().map(read).collect()
}

/// Adds bounds on a time column.
pub(super) fn within(script: &mut Script, column: &'static str, bounds: TimeBounds) {
    let bounds = [
        (" > ", bounds.gt),
        (" >= ", bounds.gte),
        (" < ", bounds.lt),
        (" <= ", bounds.lte),
    ];
    for (operator, bound) in bounds {
        if let Some(bound) = bound {
            script.sql(" AND ").sql(column).sql(operator).bind(bound.datetime());
        }
    }
}
