//! What the dead leave: their sessions are freed, each counting one attempt (I15).

use std::fmt::Write as _;

use perennial_engine::retry;
use perennial_schema::OwnerId;

use super::clock::{ALIVE, Time};
use super::script::Script;

/// Frees the sessions of owners that are gone or dead; each counts one attempt (I15). A row that does not parse is freed too.
pub(super) fn free_dead(time: &Time) -> Script {
    let mut script = time.script();
    script
        .sql(
            ", dead AS MATERIALIZED (SELECT s.number FROM sessions s CROSS JOIN clock c
                WHERE s.owner IS NOT NULL AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = s.owner AND ",
        )
        .sql(ALIVE)
        .sql(") ORDER BY s.number FOR UPDATE OF s),")
        .sql(&freed("dead"))
        .sql(", gone AS (DELETE FROM owners WHERE owner IN (SELECT o.owner FROM owners o, clock c WHERE NOT ")
        .sql(ALIVE)
        .sql(" AND NOT EXISTS (SELECT FROM sessions s WHERE s.owner = o.owner AND s.number NOT IN (SELECT number FROM dead))))")
        .sql(" SELECT count(*) AS freed FROM freed");
    script
}

/// `freed`: what `rules::Head::free_after_death` does, for the locked rows of a list of numbers, beside `clock`. They are found by their
/// numbers: `coalesce` hides from the planner that they are in the index of what is held, all of which it would read.
fn freed(numbers: &str) -> String {
    let mut delays = String::new();
    for attempts in retry::ALONE_AFTER..retry::QUARANTINE_AFTER {
        let _ = write!(
            delays,
            " WHEN {attempts} THEN {}",
            retry::attempt_delay_millis(attempts)
        );
    }
    format!(
        " freed AS (UPDATE sessions s SET owner = NULL, attempts = s.attempts + 1, revision = s.revision + 1,
            ready_at = CASE WHEN s.ready_at IS NULL THEN NULL ELSE greatest(s.ready_at,
                c.now + (CASE s.attempts + 1{delays} END) * interval '1 millisecond') END
         FROM clock c, {numbers} n WHERE s.number = n.number AND coalesce(s.owner IS NOT NULL, false) RETURNING s.number)"
    )
}

/// Ends an owner that is known to be dead, and frees what it held; answers how many owners (one or none) and sessions. With a
/// lock, only if the row still names this lock, and this very server granted it.
pub(super) fn bury(time: &Time, owner: OwnerId, lock: Option<i64>) -> Script {
    let mut script = time.script();
    script
        .sql(", dead AS (DELETE FROM owners WHERE owner = ")
        .bind(owner.uuid());
    if let Some(lock) = lock {
        script
            .sql(" AND lock_boot = pg_postmaster_start_time() AND lock_key = ")
            .bind(lock);
    }
    script
        .sql(
            " RETURNING owner), left_behind AS MATERIALIZED (SELECT s.number FROM sessions s JOIN dead d ON s.owner = d.owner
                ORDER BY s.number FOR UPDATE OF s),",
        )
        .sql(&freed("left_behind"))
        .sql(" SELECT (SELECT count(*) FROM dead) AS owners, (SELECT count(*) FROM freed) AS sessions");
    script
}
