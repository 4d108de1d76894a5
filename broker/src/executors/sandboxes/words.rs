//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use std::time::Duration;

use perennial_engine::ports::{NewSandbox, SANDBOX_USE, Sandbox, SandboxState, SessionKey, StoreError};
use perennial_schema::{ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId};

use crate::executors::hosts::words::LOST;
use crate::limits::ABANDONED_MILLIS;
use crate::sql::{Columns, Statement, inconsistent, micros, span, statement};

const COLUMNS: &str = "workspace_id, session_id, executor_id, instance, state, reason, spec, revision, changed_at, used_until, \
                       troubles, trouble, :now AS asked_at";
const LIVE: &str = "state IN ('provisioning', 'ready', 'paused')";
const CHANGED: &str = "UPDATE sandboxes SET changed_at = :now, revision = revision + 1, ";

fn chosen() -> Statement {
    statement(format!("SELECT {COLUMNS} FROM sandboxes WHERE "))
}

fn returning(asked: Statement) -> Statement {
    asked.sql(&format!(" RETURNING {COLUMNS}"))
}

pub(super) fn want(new: &NewSandbox) -> Result<Statement, StoreError> {
    let container = serde_json::to_string(&new.container).map_err(|error| inconsistent("spec", error))?;
    Ok(statement(format!(
        "INSERT INTO sandboxes (changed_at, used_until, state, workspace_id, session_id, executor_id, used_by, spec) \
         VALUES (:now, :now + {}, 'provisioning', ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING executor_id",
        micros(SANDBOX_USE)
    ))
    .id(new.key.workspace.uuid())
    .id(new.key.session.uuid())
    .id(new.executor.uuid())
    .id(new.by.uuid())
    .text(&container))
}

/// Of two that use it at once neither can say that it is unused: then it is when nobody has said anything for long enough.
fn held(by: OwnerId) -> Statement {
    statement(format!(
        "UPDATE sandboxes SET used_until = :now + {}, used_by = CASE WHEN used_by = ? OR used_until <= :now THEN ",
        micros(SANDBOX_USE)
    ))
    .id(by.uuid())
    .sql("? ELSE NULL END WHERE executor_id ")
    .id(by.uuid())
}

pub(super) fn hold(workspace: WorkspaceId, executor: ExecutorId, by: OwnerId) -> Statement {
    let asked = held(by).sql("= ? AND workspace_id = ?");
    returning(asked.id(executor.uuid()).id(workspace.uuid()))
}

/// None for nobody.
pub(super) fn hold_all(executors: &[ExecutorId], by: OwnerId) -> Option<Statement> {
    let (first, others) = executors.split_first()?;
    let asked = held(by).sql("IN (?").id(first.uuid());
    let asked = others
        .iter()
        .fold(asked, |asked, executor| asked.sql(", ?").id(executor.uuid()));
    Some(asked.sql(") RETURNING executor_id, used_until"))
}

pub(super) fn held_until(row: &impl Columns) -> Result<(ExecutorId, Timestamp), StoreError> {
    Ok((ExecutorId::from_uuid(row.id("executor_id")?), row.time("used_until")?))
}

pub(super) fn release(executor: ExecutorId, by: OwnerId, held: Timestamp, unused_for: Duration) -> Statement {
    statement(format!(
        "UPDATE sandboxes SET used_until = :now - {} WHERE executor_id = ?",
        micros(unused_for)
    ))
    .id(executor.uuid())
    .sql(" AND used_by = ?")
    .id(by.uuid())
    .sql(" AND used_until = ? RETURNING executor_id")
    .time(held)
}

pub(super) fn live(key: SessionKey) -> Statement {
    chosen()
        .sql("workspace_id = ? AND session_id = ? AND ")
        .id(key.workspace.uuid())
        .id(key.session.uuid())
        .sql(LIVE)
}

pub(super) fn houses(session: SessionId) -> Statement {
    statement("SELECT executor_id FROM sandboxes WHERE session_id = ? AND ")
        .id(session.uuid())
        .sql(LIVE)
}

pub(super) fn sandbox(executor: ExecutorId) -> Statement {
    chosen().sql("executor_id = ?").id(executor.uuid())
}

pub(super) fn of_instance(instance: ExecutorId) -> Statement {
    chosen().sql("instance = ? ORDER BY executor_id").id(instance.uuid())
}

const ORPHANED: &str = "instance IS NULL AND state = 'provisioning' AND used_until > :now";

/// Who comes second sees, when the first has committed, that there is an instance.
pub(super) fn adopt(instance: ExecutorId, limit: u32) -> Statement {
    let asked = statement(format!("{CHANGED}instance = ?"))
        .id(instance.uuid())
        .sql(&format!(
            " WHERE instance IS NULL AND executor_id IN (SELECT executor_id FROM sandboxes WHERE {ORPHANED} \
             ORDER BY executor_id LIMIT ?)"
        ))
        .number(i64::from(limit));
    returning(asked)
}

pub(super) fn stirs(instance: ExecutorId) -> Statement {
    statement("SELECT executor_id FROM sandboxes WHERE (instance = ?")
        .id(instance.uuid())
        .sql(&format!(
            " AND (state IN ('provisioning', 'gone') OR (state = 'paused' AND used_until > :now))) OR ({ORPHANED}) LIMIT 1"
        ))
}

pub(super) fn change(executor: ExecutorId, revision: u64, state: &SandboxState) -> Statement {
    let reason = match state {
        SandboxState::Failed { reason } => Some(reason.as_str()),
        _ => None,
    };
    let asked = statement(format!("{CHANGED}state = ?, reason = ?"))
        .text(name(state))
        .maybe_text(reason);
    returning(at(asked, executor, revision))
}

fn at(asked: Statement, executor: ExecutorId, revision: u64) -> Statement {
    asked
        .sql(" WHERE executor_id = ?")
        .id(executor.uuid())
        .sql(" AND revision = ?")
        .amount(revision)
}

pub(super) fn pause(executor: ExecutorId, revision: u64, idle: Duration) -> Statement {
    let asked = at(statement(format!("{CHANGED}state = 'paused'")), executor, revision);
    returning(asked.sql(&format!(
        " AND state = 'ready' AND used_until <= :now - {}",
        micros(idle)
    )))
}

pub(super) fn trouble(executor: ExecutorId, what: &str) -> Statement {
    statement("UPDATE sandboxes SET troubles = troubles + 1, trouble = ? WHERE executor_id = ? RETURNING executor_id")
        .text(what)
        .id(executor.uuid())
}

pub(super) fn give_up(executor: ExecutorId, revision: u64, reason: &str) -> Statement {
    let asked = statement(format!("{CHANGED}state = 'failed', reason = ?")).text(reason);
    let asked = at(asked, executor, revision);
    returning(asked.sql(&format!(" AND instance IS NOT NULL AND {LOST}")))
}

pub(super) fn retire(session: SessionId) -> Statement {
    statement(format!("{CHANGED}state = 'gone' WHERE session_id = ? AND "))
        .id(session.uuid())
        .sql(LIVE)
        .sql(" RETURNING executor_id")
}

pub(super) fn abandoned() -> Statement {
    chosen().sql(&format!(
        "NOT {LIVE} AND changed_at <= :now - {} AND {LOST} ORDER BY executor_id LIMIT 100",
        ABANDONED_MILLIS * 1000
    ))
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
    let (changed_at, used_until, now) = (row.time("changed_at")?, row.time("used_until")?, row.time("asked_at")?);
    Ok(Sandbox {
        executor: ExecutorId::from_uuid(row.id("executor_id")?),
        key: SessionKey {
            workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
            session: SessionId::from_uuid(row.id("session_id")?),
        },
        instance: row.maybe_id("instance")?.map(ExecutorId::from_uuid),
        container: serde_json::from_str(&row.text("spec")?).map_err(|error| inconsistent("spec", error))?,
        state,
        revision: row.amount("revision")?,
        changed_at,
        unchanged_for: span(changed_at, now).unwrap_or_default(),
        used_until,
        unused_for: span(used_until, now),
        troubles: row.amount("troubles")?,
        trouble: row.maybe_text("trouble")?,
    })
}
