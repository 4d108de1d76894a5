//! Forgetting: idempotency keys whose time is over. Whoever sweeps for work does it once in a while.

use super::clock::Time;
use super::rows::integer;
use super::script::Script;
use crate::limits;

/// Removes some keys that are older than their promise; what another process is removing is passed by.
pub(super) fn forgotten_keys(time: &Time) -> Script {
    let mut script = time.script();
    script
        .sql(
            ", old AS MATERIALIZED (SELECT i.workspace_id, i.scope, i.key FROM idempotency i CROSS JOIN clock c
                WHERE i.at < c.now - ",
        )
        .bind(integer(limits::IDEMPOTENCY_MILLIS))
        .sql(" * interval '1 millisecond' ORDER BY i.at LIMIT ")
        .bind(limits::PRUNE_ROWS)
        .sql(
            " FOR UPDATE OF i SKIP LOCKED)
             DELETE FROM idempotency d USING old o
             WHERE d.workspace_id = o.workspace_id AND d.scope = o.scope AND d.key = o.key",
        );
    script
}
