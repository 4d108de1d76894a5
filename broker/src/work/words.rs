//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use perennial_engine::ports::{
    StoreError, WORK_KEPT_MILLIS, WORKER_SEEN_MILLIS, WORKERS_COUNTED, Work, WorkQueueKey, WorkState,
};
use perennial_schema::{EnvironmentId, KeyId, SessionId, Timestamp, WorkId, WorkspaceId};

use crate::sql::{Columns, Statement, inconsistent, statement};

const COLUMNS: &str = "workspace_id, environment_id, id, session_id, head, revision, state, token, key_id, worker, metadata,
    created_at, polled_at, acknowledged_at, started_at, beat_at, beat_before, lease_until, stop_requested_at, stopped_at";

fn of(asked: Statement, queue: WorkQueueKey) -> Statement {
    asked.id(queue.workspace.uuid()).id(queue.environment.uuid())
}

/// At least one row, which tells the time.
pub(super) fn open(queue: WorkQueueKey, lately_millis: u64, limit: u32) -> Statement {
    let found = of(
        statement(
            "SELECT * FROM work WHERE workspace_id = ? AND environment_id = ? AND (state <> 'stopped' OR stopped_at > :now - ?)
             ORDER BY created_at, id LIMIT ?",
        ),
        queue,
    )
    .amount(lately_millis * 1000)
    .amount(limit.into());
    statement(format!(
        "SELECT t.now, {COLUMNS} FROM (SELECT :now AS now) t LEFT JOIN ("
    ))
    .with_statement(found)
    .sql(") w ON 1 = 1 ORDER BY created_at, id")
}

pub(super) fn piece(id: WorkId) -> Statement {
    statement(format!("SELECT :now AS now, {COLUMNS} FROM work WHERE id = ?")).id(id.uuid())
}

pub(super) fn list(queue: WorkQueueKey, before: Option<(Timestamp, WorkId)>, limit: u32) -> Statement {
    let asked = of(
        statement(format!(
            "SELECT {COLUMNS} FROM work WHERE workspace_id = ? AND environment_id = ?"
        )),
        queue,
    );
    let asked = match before {
        Some((at, id)) => asked.sql(" AND (created_at, id) < (?, ?)").time(at).id(id.uuid()),
        None => asked,
    };
    asked
        .sql(" ORDER BY created_at DESC, id DESC LIMIT ?")
        .amount(limit.into())
}

pub(super) fn forget(queue: WorkQueueKey) -> Statement {
    of(
        statement("DELETE FROM work WHERE workspace_id = ? AND environment_id = ? AND state = 'stopped' AND stopped_at <= :now - ?"),
        queue,
    )
    .amount(WORK_KEPT_MILLIS * 1000)
}

pub(super) fn add(work: &Work) -> Result<Statement, StoreError> {
    let asked = of(
        statement(format!(
            "INSERT INTO work ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING RETURNING id"
        )),
        work.queue,
    )
    .id(work.id.uuid())
    .id(work.session.uuid())
    .amount(work.head)
    .amount(work.revision);
    changing(asked, work)
}

/// The columns from the state on, in their order.
fn changing(asked: Statement, work: &Work) -> Result<Statement, StoreError> {
    let metadata = serde_json::to_string(&work.metadata).map_err(|error| inconsistent("metadata", error))?;
    Ok(asked
        .text(work.state.as_str())
        .bytes(work.token.as_ref().map_or(&[], |token| token.as_slice()))
        .maybe_id(work.key.map(KeyId::uuid))
        .maybe_text(work.worker.as_deref())
        .text(&metadata)
        .time(work.created_at)
        .maybe_time(work.polled_at)
        .maybe_time(work.acknowledged_at)
        .maybe_time(work.started_at)
        .maybe_time(work.beat_at)
        .maybe_time(work.beat_before)
        .maybe_time(work.lease_until)
        .maybe_time(work.stop_requested_at)
        .maybe_time(work.stopped_at))
}

pub(super) fn swap(seen: u64, work: &Work) -> Result<Statement, StoreError> {
    let asked = statement(
        "UPDATE work SET revision = revision + 1, state = ?, token = ?, key_id = ?, worker = ?, metadata = ?, created_at = ?,
         polled_at = ?, acknowledged_at = ?, started_at = ?, beat_at = ?, beat_before = ?, lease_until = ?,
         stop_requested_at = ?, stopped_at = ? WHERE workspace_id = ? AND environment_id = ? AND id = ? AND revision = ? RETURNING id",
    );
    let asked = of(changing(asked, work)?, work.queue);
    Ok(asked.id(work.id.uuid()).amount(seen))
}

/// Forgets who has not asked for a while.
pub(super) fn absent(queue: WorkQueueKey) -> Statement {
    of(
        statement("DELETE FROM work_pollers WHERE workspace_id = ? AND environment_id = ? AND seen_at <= :now - ?"),
        queue,
    )
    .amount(WORKER_SEEN_MILLIS * 1000)
}

pub(super) fn attend(queue: WorkQueueKey, worker: &str) -> Statement {
    let asked = statement("INSERT INTO work_pollers (workspace_id, environment_id, worker, seen_at) SELECT ");
    let asked = asked.sql("?, ?, ?, :now WHERE (SELECT count(*) FROM work_pollers WHERE workspace_id = ?");
    let asked = of(asked, queue).text(worker).id(queue.workspace.uuid());
    asked
        .sql(" AND environment_id = ? AND worker <> ?) < ?")
        .id(queue.environment.uuid())
        .text(worker)
        .amount(WORKERS_COUNTED)
        .sql(" ON CONFLICT (workspace_id, environment_id, worker) DO UPDATE SET seen_at = excluded.seen_at")
}

pub(super) fn attending(queue: WorkQueueKey) -> Statement {
    of(
        statement("SELECT count(*) AS workers FROM work_pollers WHERE workspace_id = ? AND environment_id = ? AND seen_at > :now - ?"),
        queue,
    )
    .amount(WORKER_SEEN_MILLIS * 1000)
}

/// None for the row that only tells the time.
pub(super) fn maybe_work_of(row: &impl Columns) -> Result<Option<Work>, StoreError> {
    row.maybe_id("id")?.map(|_| work_of(row)).transpose()
}

pub(super) fn work_of(row: &impl Columns) -> Result<Work, StoreError> {
    let state = row.text("state")?;
    let token = row.bytes("token")?;
    Ok(Work {
        id: WorkId::from_uuid(row.id("id")?),
        queue: WorkQueueKey {
            workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
            environment: EnvironmentId::from_uuid(row.id("environment_id")?),
        },
        session: SessionId::from_uuid(row.id("session_id")?),
        head: row.amount("head")?,
        revision: row.amount("revision")?,
        state: WorkState::parse(&state)
            .ok_or_else(|| inconsistent("state", format!("{state:?} is none of a work item")))?,
        token: match token.len() {
            0 => None,
            _ => Some(token.try_into().map_err(|_| inconsistent("token", "is no hash"))?),
        },
        key: row.maybe_id("key_id")?.map(KeyId::from_uuid),
        worker: row.maybe_text("worker")?,
        metadata: serde_json::from_str(&row.text("metadata")?).map_err(|error| inconsistent("metadata", error))?,
        created_at: row.time("created_at")?,
        polled_at: row.maybe_time("polled_at")?,
        acknowledged_at: row.maybe_time("acknowledged_at")?,
        started_at: row.maybe_time("started_at")?,
        beat_at: row.maybe_time("beat_at")?,
        beat_before: row.maybe_time("beat_before")?,
        lease_until: row.maybe_time("lease_until")?,
        stop_requested_at: row.maybe_time("stop_requested_at")?,
        stopped_at: row.maybe_time("stopped_at")?,
    })
}
