//! Session rows: one by key, listings, and the stream of changes.

use perennial_engine::ports::{ChangeCursor, SessionFilter, SessionKey, SessionRow, StoreError};
use perennial_schema::WorkspaceId;
use perennial_schema::session::Status;

use super::ask::Desk;
use super::clock::Time;
use super::read::within;
use super::rows::{self, Known, integer};
use super::script::Script;

/// The status as served ([`SessionRow::served_status`]), in SQL.
const SERVED_STATUS: &str =
    "CASE WHEN s.status = 'idle' AND s.ready_at IS NOT NULL AND s.budget_hold IS NULL AND NOT s.quarantined
    AND s.archived_at IS NULL THEN 'running' ELSE s.status END";

fn select(time: &Time) -> Script {
    let mut script = time.script();
    script
        .sql(" SELECT ")
        .sql(&rows::telling_columns())
        .sql(" FROM clock c CROSS JOIN sessions s JOIN session_details d ON d.session = s.number ")
        .sql(rows::TELLING)
        .sql(" WHERE s.workspace_id = ");
    script
}

/// The row, deleted or not; for clients, and as a writer sees it.
pub(super) async fn one(desk: &Desk, key: SessionKey) -> Result<Option<(SessionRow, Known)>, StoreError> {
    let time = desk.site.time.clone();
    let rows = desk
        .ask(move || {
            let mut script = select(&time);
            script
                .bind(key.workspace.uuid())
                .sql(" AND s.id = ")
                .bind(key.session.uuid());
            script
        })
        .await?;
    rows.first().map(rows::seen).transpose()
}

/// A listing.
pub(super) async fn many(
    desk: &Desk,
    workspace: WorkspaceId,
    filter: SessionFilter,
) -> Result<Vec<SessionRow>, StoreError> {
    let time = desk.site.time.clone();
    let rows = desk
        .ask(move || {
            let mut script = select(&time);
            script.bind(workspace.uuid()).sql(" AND s.deleted_at IS NULL");
            conditions(&mut script, &filter);
            script
                .sql(if filter.ascending {
                    " ORDER BY s.created_at, s.id LIMIT "
                } else {
                    " ORDER BY s.created_at DESC, s.id DESC LIMIT "
                })
                .bind(i64::from(filter.limit));
            script
        })
        .await?;
    rows.iter().map(rows::session).collect()
}

/// Sessions whose summary changed after a place. A commit may become visible before an older one (I12): what is not older
/// than every transaction still open is held back until the next look.
pub(super) async fn changed(
    desk: &Desk,
    workspace: WorkspaceId,
    after: Option<ChangeCursor>,
    limit: u32,
) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
    let time = desk.site.time.clone();
    let rows = desk
        .ask(move || {
            let mut script = select(&time);
            script
                .bind(workspace.uuid())
                .sql(" AND s.changed < pg_snapshot_xmin(pg_current_snapshot())");
            if let Some(after) = after {
                script
                    .sql(" AND (s.changed, s.number) > (")
                    .bind(after.commit.to_string())
                    .sql("::xid8, ")
                    .bind(integer(after.position))
                    .sql(")");
            }
            script
                .sql(" ORDER BY s.changed, s.number LIMIT ")
                .bind(i64::from(limit));
            script
        })
        .await?;
    rows.iter().map(rows::change).collect()
}

fn conditions(script: &mut Script, filter: &SessionFilter) {
    if let Some(agent) = filter.agent_id {
        script.sql(" AND s.agent_id = ").bind(agent.uuid());
    }
    if let Some(version) = filter.agent_version {
        script.sql(" AND s.agent_version = ").bind(integer(version));
    }
    if !filter.statuses.is_empty() {
        let statuses: Vec<&str> = filter.statuses.iter().copied().map(Status::as_str).collect();
        script
            .sql(" AND ")
            .sql(SERVED_STATUS)
            .sql(" = ANY(")
            .bind(statuses)
            .sql(")");
    }
    if let Some(environment) = filter.environment_id {
        script.sql(" AND d.environment_id = ").bind(environment.uuid());
    }
    if filter.waiting {
        script.sql(" AND s.stop_reason::json ->> 'type' = 'requires_action'");
    }
    if filter.confirmed {
        script.sql(" AND EXISTS (SELECT FROM answers a WHERE a.session = s.number AND a.way = 'confirmation')");
    }
    if !filter.include_archived {
        script.sql(" AND s.archived_at IS NULL");
    }
    within(script, "s.created_at", filter.created);
    if let Some((at, id)) = filter.cursor {
        script
            .sql(if filter.ascending {
                " AND (s.created_at, s.id) > ("
            } else {
                " AND (s.created_at, s.id) < ("
            })
            .bind(at.datetime())
            .comma(id.uuid())
            .sql(")");
    }
}
