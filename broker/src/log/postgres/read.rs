//! Reading logs: the tail, one event, a filtered listing. Each is one statement, so it sees one moment.

use perennial_engine::ports::{EventFilter, ReadFrom, SessionKey, StoreError, TimeBounds};
use perennial_schema::EventId;
use perennial_schema::event::{self, Domain, Record};
use sqlx::postgres::PgRow;

use super::ask::Desk;
use super::rows::{self, Cells, integer};
use super::script::Script;
use crate::limits;

/// Events after a seq. The database stops at the byte bound, so that no page is larger than promised on the wire either.
pub(super) async fn tail(desk: &Desk, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT ");
            script
                .sql(rows::RECORD)
                .sql(
                    " FROM sessions s CROSS JOIN LATERAL (SELECT l.*,
                        sum(octet_length(l.payload) + coalesce(octet_length(l.private), 0)) OVER (ORDER BY l.seq) AS bytes
                     FROM (SELECT * FROM events e WHERE e.session = s.number AND e.seq > ",
                )
                .bind(integer(from.after))
                .sql(" AND e.seq <= s.head ORDER BY e.seq LIMIT ")
                .bind(i64::from(from.limit))
                .sql(") l) e WHERE s.workspace_id = ")
                .bind(key.workspace.uuid())
                .sql(" AND s.id = ")
                .bind(key.session.uuid())
                .sql(" AND (e.bytes <= ")
                .bind(i64::try_from(limits::READ_BYTES).unwrap_or(i64::MAX))
                .sql(" OR e.seq = ")
                .bind(integer(from.after.saturating_add(1)))
                .sql(") ORDER BY e.seq");
            script
        })
        .await?;
    rows.iter().map(|row| rows::record(row, key.session)).collect()
}

/// One event by id.
pub(super) async fn one(desk: &Desk, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
    let rows = desk
        .ask(move || {
            let mut script = Script::new("SELECT ");
            script
                .sql(rows::RECORD)
                .sql(" FROM sessions s JOIN events e ON e.session = s.number AND e.id = ")
                .bind(id.uuid())
                .sql(" WHERE s.workspace_id = ")
                .bind(key.workspace.uuid())
                .sql(" AND s.id = ")
                .bind(key.session.uuid());
            script
        })
        .await?;
    rows.first().map(|row| rows::record(row, key.session)).transpose()
}

/// A filtered listing with the stamps of processed inputs.
pub(super) async fn list(desk: &Desk, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
    let rows = desk.ask(move || listing(key, &filter)).await?;
    rows.iter().map(|row| overlaid(row, key)).collect()
}

fn listing(key: SessionKey, filter: &EventFilter) -> Script {
    let mut script = Script::new("SELECT ");
    script
        .sql(rows::RECORD)
        .sql(", p.at AS stamped FROM sessions s JOIN events e ON e.session = s.number")
        .sql(" LEFT JOIN processed p ON p.session = s.number AND p.event_id = e.id WHERE s.workspace_id = ")
        .bind(key.workspace.uuid())
        .sql(" AND s.id = ")
        .bind(key.session.uuid());
    if let Some(cursor) = filter.cursor {
        script
            .sql(if filter.descending {
                " AND e.seq < "
            } else {
                " AND e.seq > "
            })
            .bind(integer(cursor));
    }
    if let Some(kinds) = kinds(filter) {
        script.sql(" AND e.kind = ANY(").bind(kinds).sql(")");
    }
    within(&mut script, "coalesce(e.processed_at, p.at)", filter.created);
    script
        .sql(if filter.descending {
            " ORDER BY e.seq DESC LIMIT "
        } else {
            " ORDER BY e.seq LIMIT "
        })
        .bind(i64::from(filter.limit));
    script
}

/// The types to show; none means all.
fn kinds(filter: &EventFilter) -> Option<Vec<String>> {
    if !filter.types.is_empty() {
        return Some(filter.types.clone());
    }
    if filter.include_extensions {
        return None;
    }
    let public = |(kind, domain): &(&'static str, Domain)| (*domain != Domain::Extension).then(|| (*kind).to_owned());
    Some(event::KINDS.iter().filter_map(public).collect())
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

fn overlaid(row: &PgRow, key: SessionKey) -> Result<Record, StoreError> {
    let mut record = rows::record(row, key.session)?;
    let cells = Cells {
        row,
        table: "processed",
        key: format!("{}/{}", key.session, record.seq),
    };
    if let Some(at) = cells.maybe_time("stamped")? {
        record.payload = event::with_processed_at(&record.payload, at);
    }
    Ok(record)
}
