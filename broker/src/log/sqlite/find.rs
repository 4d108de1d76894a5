//! Session rows: one by key, and listings.

use perennial_engine::ports::{ChangeCursor, SessionFilter, SessionKey, SessionRow, StoreError};
use perennial_schema::session::Status;
use perennial_schema::{Timestamp, WorkspaceId};
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqlitePool, query};

use super::read::within;
use super::rows::{self, Stored as _, integer};
use super::{failure, write};

/// The status as served ([`SessionRow::served_status`]), in SQL.
const SERVED_STATUS: &str =
    "CASE WHEN s.status = 'idle' AND s.ready_at IS NOT NULL AND s.budget_hold IS NULL AND s.quarantined = 0
    AND s.archived_at IS NULL THEN 'running' ELSE s.status END";

/// The row, deleted or not.
pub(super) async fn one(pool: &SqlitePool, key: SessionKey, now: Timestamp) -> Result<Option<SessionRow>, StoreError> {
    let sql = format!("{} WHERE s.workspace_id = ? AND s.id = ?", rows::select_sessions());
    let row = query(AssertSqlSafe(sql))
        .bind(now.micros())
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .fetch_optional(pool)
        .await
        .map_err(|error| failure::before_commit(&error))?;
    row.as_ref().map(rows::session).transpose()
}

/// A listing.
pub(super) async fn many(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    filter: SessionFilter,
    now: Timestamp,
) -> Result<Vec<SessionRow>, StoreError> {
    // `select_sessions` takes now as its first value: bind it where it stands.
    let (before, after) = split_at_value(rows::select_sessions());
    let mut sql = QueryBuilder::<Sqlite>::new(before);
    sql.push_bind(now.micros())
        .push(after)
        .push(" WHERE s.deleted_at IS NULL AND s.workspace_id = ")
        .push_bind(workspace.stored());
    conditions(&mut sql, &filter);
    sql.push(if filter.ascending {
        " ORDER BY s.created_at, s.id LIMIT "
    } else {
        " ORDER BY s.created_at DESC, s.id DESC LIMIT "
    })
    .push_bind(filter.limit);
    let found = sql
        .build()
        .fetch_all(pool)
        .await
        .map_err(|error| failure::before_commit(&error))?;
    found.iter().map(rows::session).collect()
}

/// Sessions whose summary changed after a place.
pub(super) async fn changed(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    after: Option<ChangeCursor>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
    let sql = format!(
        "{} WHERE s.workspace_id = ? AND (s.changed, s.number) > (?, ?) ORDER BY s.changed, s.number LIMIT ?",
        rows::select_sessions()
    );
    let (commit, position) = after.map_or((-1, -1), |after| (integer(after.commit), integer(after.position)));
    let found = query(AssertSqlSafe(sql))
        .bind(now.micros())
        .bind(workspace.stored())
        .bind(commit)
        .bind(position)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| failure::before_commit(&error))?;
    found.iter().map(rows::change).collect()
}

fn split_at_value(sql: String) -> (String, String) {
    match sql.split_once('?') {
        Some((before, after)) => (before.to_owned(), after.to_owned()),
        None => (sql, String::new()),
    }
}

fn conditions(sql: &mut QueryBuilder<Sqlite>, filter: &SessionFilter) {
    if let Some(agent) = filter.agent_id {
        sql.push(" AND s.agent_id = ").push_bind(agent.stored());
    }
    if let Some(version) = filter.agent_version {
        sql.push(" AND s.agent_version = ").push_bind(integer(version));
    }
    if !filter.statuses.is_empty() {
        let statuses: Vec<&str> = filter.statuses.iter().copied().map(Status::as_str).collect();
        sql.push(" AND ")
            .push(SERVED_STATUS)
            .push(" IN (SELECT value FROM json_each(")
            .push_bind(write::text(&statuses))
            .push("))");
    }
    if let Some(environment) = filter.environment_id {
        sql.push(" AND d.environment_id = ").push_bind(environment.stored());
    }
    if filter.waiting {
        sql.push(" AND s.stop_reason ->> 'type' = 'requires_action'");
    }
    if filter.confirmed {
        sql.push(" AND EXISTS (SELECT 1 FROM answers a WHERE a.session = s.number AND a.way = 'confirmation')");
    }
    if !filter.include_archived {
        sql.push(" AND s.archived_at IS NULL");
    }
    within(sql, "s.created_at", filter.created);
    if let Some((at, id)) = filter.cursor {
        sql.push(if filter.ascending {
            " AND (s.created_at, s.id) > ("
        } else {
            " AND (s.created_at, s.id) < ("
        })
        .push_bind(at.micros())
        .push(", ")
        .push_bind(id.stored())
        .push(")");
    }
}
