//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use perennial_engine::ports::{NewSandbox, Sandbox, SandboxState, SessionKey, StoreError};
use perennial_schema::{ExecutorId, SessionId, WorkspaceId};

use crate::sql::{Columns, Statement, inconsistent, statement};

const COLUMNS: &str = "workspace_id, session_id, executor_id, instance, state, reason, spec, revision, changed_at";
const LIVE: &str = "state IN ('provisioning', 'ready', 'paused')";

fn chosen() -> Statement {
    statement(format!("SELECT {COLUMNS} FROM sandboxes WHERE "))
}

pub(super) fn claim(new: &NewSandbox) -> Result<Statement, StoreError> {
    let spec = serde_json::to_string(&new.spec).map_err(|error| inconsistent("spec", error))?;
    Ok(statement(
        "INSERT INTO sandboxes (changed_at, state, workspace_id, session_id, executor_id, instance, spec) \
         VALUES (:now, 'provisioning', ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING executor_id",
    )
    .id(new.key.workspace.uuid())
    .id(new.key.session.uuid())
    .id(new.executor.uuid())
    .id(new.instance.uuid())
    .text(&spec))
}

pub(super) fn live(key: SessionKey) -> Statement {
    chosen()
        .sql("workspace_id = ? AND session_id = ? AND ")
        .id(key.workspace.uuid())
        .id(key.session.uuid())
        .sql(LIVE)
}

pub(super) fn sandbox(executor: ExecutorId) -> Statement {
    chosen().sql("executor_id = ?").id(executor.uuid())
}

pub(super) fn of_instance(instance: ExecutorId) -> Statement {
    chosen().sql("instance = ? ORDER BY executor_id").id(instance.uuid())
}

pub(super) fn change(executor: ExecutorId, revision: u64, state: &SandboxState) -> Statement {
    let reason = match state {
        SandboxState::Failed { reason } => Some(reason.as_str()),
        _ => None,
    };
    statement(
        "UPDATE sandboxes SET changed_at = :now, revision = revision + 1, state = ?, reason = ? WHERE executor_id = ?",
    )
    .text(name(state))
    .maybe_text(reason)
    .id(executor.uuid())
    .sql(" AND revision = ?")
    .amount(revision)
    .sql(&format!(" RETURNING {COLUMNS}"))
}

pub(super) fn retire(session: SessionId) -> Statement {
    statement(
        "UPDATE sandboxes SET changed_at = :now, revision = revision + 1, state = 'gone' WHERE session_id = ? AND ",
    )
    .id(session.uuid())
    .sql(LIVE)
    .sql(" RETURNING executor_id")
}

pub(super) fn forget(executor: ExecutorId) -> Statement {
    statement("DELETE FROM sandboxes WHERE executor_id = ?")
        .id(executor.uuid())
        .sql(&format!(" AND NOT {LIVE} RETURNING executor_id"))
}

const fn name(state: &SandboxState) -> &'static str {
    match state {
        SandboxState::Provisioning => "provisioning",
        SandboxState::Ready => "ready",
        SandboxState::Paused => "paused",
        SandboxState::Gone => "gone",
        SandboxState::Failed { .. } => "failed",
    }
}

pub(super) fn sandbox_of(row: &impl Columns) -> Result<Sandbox, StoreError> {
    let state = match row.text("state")?.as_str() {
        "provisioning" => SandboxState::Provisioning,
        "ready" => SandboxState::Ready,
        "paused" => SandboxState::Paused,
        "gone" => SandboxState::Gone,
        "failed" => SandboxState::Failed {
            reason: row.maybe_text("reason")?.unwrap_or_default(),
        },
        other => return Err(inconsistent("state", format!("{other:?} is no state of a sandbox"))),
    };
    Ok(Sandbox {
        executor: ExecutorId::from_uuid(row.id("executor_id")?),
        key: SessionKey {
            workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
            session: SessionId::from_uuid(row.id("session_id")?),
        },
        instance: ExecutorId::from_uuid(row.id("instance")?),
        spec: serde_json::from_str(&row.text("spec")?).map_err(|error| inconsistent("spec", error))?,
        state,
        revision: row.amount("revision")?,
        changed_at: row.time("changed_at")?,
    })
}
