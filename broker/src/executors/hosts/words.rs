//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use std::time::Duration;

use perennial_engine::ports::{NewSandboxHost, SANDBOX_HOST_KEPT, SANDBOX_HOST_ONLINE, SandboxHost, StoreError};
use perennial_schema::{ExecutorId, OwnerId};

use crate::sql::{Columns, Statement, inconsistent, micros, statement};

/// Whether the host of a row of `sandboxes` is lost, as it is when nobody ever took it.
pub(in crate::executors) const LOST: &str = "NOT EXISTS (SELECT 1 FROM sandbox_hosts AS h WHERE h.instance = sandboxes.instance \
                                             AND h.seen_at > :now - h.lost_after)";
const HOUSES: &str = "EXISTS (SELECT 1 FROM sandboxes AS s WHERE s.instance = sandbox_hosts.instance \
                      AND s.state IN ('provisioning', 'ready', 'paused'))";

pub(super) fn present(host: &NewSandboxHost) -> Result<Statement, StoreError> {
    let defaults = serde_json::to_string(&host.defaults).map_err(|error| inconsistent("defaults", error))?;
    Ok(statement(format!(
        "INSERT INTO sandbox_hosts (seen_at, lost_after, instance, node, home, engine, trouble, defaults) \
         VALUES (:now, {}, ?, ?, ?, ?, ?, ?) ",
        micros(host.lost_after)
    ))
    .id(host.instance.uuid())
    .id(host.node.uuid())
    .text(&host.home)
    .maybe_text(host.engine.as_deref())
    .maybe_text(host.trouble.as_deref())
    .text(&defaults)
    .sql(&format!(
        "ON CONFLICT (instance) DO UPDATE SET seen_at = excluded.seen_at, lost_after = excluded.lost_after, node = excluded.node, \
         home = excluded.home, engine = excluded.engine, trouble = excluded.trouble, \
         defaults = excluded.defaults WHERE sandbox_hosts.node = excluded.node OR sandbox_hosts.home = excluded.home \
         OR sandbox_hosts.seen_at <= excluded.seen_at - {} RETURNING instance",
        micros(SANDBOX_HOST_ONLINE)
    )))
}

pub(super) fn resign(instance: ExecutorId) -> Statement {
    statement("DELETE FROM sandbox_hosts WHERE instance = ?")
        .id(instance.uuid())
        .sql(&format!(" AND NOT {HOUSES} RETURNING instance"))
}

pub(super) fn hosts() -> Statement {
    statement(format!(
        "SELECT seen_at, lost_after, instance, node, home, engine, trouble, defaults, :now AS asked_at FROM sandbox_hosts \
         WHERE seen_at > :now - {} OR {HOUSES} ORDER BY seen_at DESC, instance",
        micros(SANDBOX_HOST_KEPT)
    ))
}

pub(super) fn host_of(row: &impl Columns) -> Result<SandboxHost, StoreError> {
    let (seen, now) = (row.time("seen_at")?, row.time("asked_at")?);
    let unseen = u64::try_from(now.micros() - seen.micros()).unwrap_or_default();
    Ok(SandboxHost {
        host: NewSandboxHost {
            instance: ExecutorId::from_uuid(row.id("instance")?),
            node: OwnerId::from_uuid(row.id("node")?),
            home: row.text("home")?,
            engine: row.maybe_text("engine")?,
            trouble: row.maybe_text("trouble")?,
            defaults: serde_json::from_str(&row.text("defaults")?).map_err(|error| inconsistent("defaults", error))?,
            lost_after: Duration::from_micros(row.amount("lost_after")?),
        },
        unseen_for: Duration::from_micros(unseen),
    })
}
