//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use perennial_engine::ports::{Backlog, Demand, PoolWorker, Standing, StoreError, WORKER_GONE_MILLIS, WorkerCard};
use perennial_schema::OwnerId;

use super::FORGOTTEN_MILLIS;
use crate::sql::{Columns, Statement, inconsistent, statement};

const COLUMNS: &str = "owner, name, version, slots, harnesses, standing, joined_at, seen_at,
    (SELECT count(*) FROM sessions s WHERE s.owner = workers.owner) AS held";

pub(super) fn attend(owner: OwnerId, card: &WorkerCard) -> Result<Statement, StoreError> {
    let harnesses = serde_json::to_string(&card.harnesses).map_err(|error| inconsistent("harnesses", error))?;
    Ok(statement(
        "INSERT INTO workers (joined_at, seen_at, owner, name, version, slots, harnesses) VALUES (:now, :now, ?, ?, ?, ?, ?)
         ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at RETURNING standing, joined_at, seen_at",
    )
    .id(owner.uuid())
    .text(&card.name)
    .text(&card.version)
    .amount(card.slots.into())
    .text(&harnesses))
}

pub(super) fn forget() -> Statement {
    statement("DELETE FROM workers WHERE seen_at < :now - ?").amount(FORGOTTEN_MILLIS * 1000)
}

pub(super) fn leave(owner: OwnerId) -> Statement {
    statement("DELETE FROM workers WHERE owner = ?").id(owner.uuid())
}

pub(super) fn workers() -> Statement {
    statement(format!("SELECT {COLUMNS} FROM workers WHERE seen_at > :now - ?"))
        .amount(WORKER_GONE_MILLIS * 1000)
        .sql(" ORDER BY joined_at, owner")
}

pub(super) fn steer(owner: OwnerId, standing: Standing) -> Statement {
    statement("UPDATE workers SET standing = ? WHERE owner = ?")
        .text(name(standing))
        .id(owner.uuid())
        .sql(" AND seen_at > :now - ?")
        .amount(WORKER_GONE_MILLIS * 1000)
        .sql(&format!(" RETURNING {COLUMNS}"))
}

/// The condition of the index `sessions_ready`, word for word.
const CLAIMABLE: &str =
    "ready_at IS NOT NULL AND owner IS NULL AND NOT quarantined AND archived_at IS NULL AND deleted_at IS NULL";

/// What dead workers hold counts as held until it is freed. `micros` is around a time of the sessions; `workspace_slots` is how
/// many sessions of a workspace are held at once.
pub(super) fn backlog([from, to]: [&str; 2], workspace_slots: Option<u32>) -> Statement {
    statement("SELECT (SELECT count(*) FROM sessions WHERE owner IS NOT NULL) AS held, w.workers, w.slots, r.ready, r.oldest, ")
    .with_statement(over([from, to], workspace_slots))
    .sql(
        " AS over_slots FROM (SELECT count(*) AS workers, cast(coalesce(sum(slots), 0) AS bigint) AS slots FROM workers
           WHERE standing = 'active' AND seen_at > :now - ?) w",
    )
    .amount(WORKER_GONE_MILLIS * 1000)
    .sql(&format!(
        " CROSS JOIN (SELECT count(*) AS ready, coalesce(max(:now - {from}ready_at{to}), 0) AS oldest FROM sessions
            WHERE {CLAIMABLE} AND {from}ready_at{to} <= :now) r"
    ))
}

/// How many of the ready ones are beyond what their workspaces have room for.
fn over([from, to]: [&str; 2], workspace_slots: Option<u32>) -> Statement {
    let Some(slots) = workspace_slots else {
        return statement("cast(0 AS bigint)");
    };
    // Whatever is larger than the room counts, and the room is nothing where more is held than there are slots.
    statement(format!(
        "(SELECT cast(coalesce(sum(CASE WHEN f.room < 0 THEN f.waiting WHEN f.waiting > f.room THEN f.waiting - f.room ELSE 0 END),
            0) AS bigint) FROM (SELECT q.waiting, cast(? AS bigint) - coalesce(h.held, 0) AS room FROM (
                SELECT workspace_id, count(*) AS waiting FROM sessions WHERE {CLAIMABLE} AND {from}ready_at{to} <= :now
                GROUP BY workspace_id) q LEFT JOIN (
                SELECT workspace_id, count(*) AS held FROM sessions WHERE owner IS NOT NULL GROUP BY workspace_id) h
            ON h.workspace_id = q.workspace_id) f)"
    ))
    .amount(slots.into())
}

/// What waits and what is held, by harness.
pub(super) fn demand([from, to]: [&str; 2]) -> Statement {
    statement(format!(
        "SELECT d.harness, cast(sum(d.ready) AS bigint) AS ready, cast(sum(d.held) AS bigint) AS held, max(d.oldest) AS oldest
         FROM (SELECT harness, 1 AS ready, 0 AS held, :now - {from}ready_at{to} AS oldest FROM sessions
               WHERE {CLAIMABLE} AND {from}ready_at{to} <= :now
               UNION ALL SELECT harness, 0, 1, 0 FROM sessions WHERE owner IS NOT NULL) d
         GROUP BY d.harness ORDER BY d.harness"
    ))
}

pub(super) const fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Cordoned => "cordoned",
        Standing::Draining => "draining",
    }
}

pub(super) fn standing_of(row: &impl Columns) -> Result<Standing, StoreError> {
    match row.text("standing")?.as_str() {
        "active" => Ok(Standing::Active),
        "cordoned" => Ok(Standing::Cordoned),
        "draining" => Ok(Standing::Draining),
        other => Err(inconsistent("standing", format!("{other:?} is none of a worker"))),
    }
}

/// Whether it was not known before.
pub(super) fn has_joined(row: &impl Columns) -> Result<bool, StoreError> {
    Ok(row.time("joined_at")? == row.time("seen_at")?)
}

pub(super) fn worker_of(row: &impl Columns) -> Result<PoolWorker, StoreError> {
    Ok(PoolWorker {
        owner: OwnerId::from_uuid(row.id("owner")?),
        card: WorkerCard {
            name: row.text("name")?,
            version: row.text("version")?,
            slots: u32::try_from(row.amount("slots")?).map_err(|error| inconsistent("slots", error))?,
            harnesses: serde_json::from_str(&row.text("harnesses")?)
                .map_err(|error| inconsistent("harnesses", error))?,
        },
        standing: standing_of(row)?,
        held: row.amount("held")?,
        joined_at: row.time("joined_at")?,
        seen_at: row.time("seen_at")?,
    })
}

pub(super) fn backlog_of(row: &impl Columns) -> Result<Backlog, StoreError> {
    Ok(Backlog {
        ready: row.amount("ready")?,
        over: row.amount("over_slots")?,
        held: row.amount("held")?,
        oldest_millis: row.amount("oldest")? / 1000,
        workers: row.amount("workers")?,
        slots: row.amount("slots")?,
    })
}

pub(super) fn demand_of(row: &impl Columns) -> Result<Demand, StoreError> {
    Ok(Demand {
        harness: row.text("harness")?,
        ready: row.amount("ready")?,
        held: row.amount("held")?,
        oldest_millis: row.amount("oldest")? / 1000,
    })
}
