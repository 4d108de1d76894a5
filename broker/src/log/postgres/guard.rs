//! Transactions that somebody leaves open (I14). While one could still look at the past nothing that is dead since can be cleared
//! away, and every claim wades through it. The server bounds those of our own connections; this finds everybody else's on the same
//! database, and ends what has been idle for too long. One that works, a dump or a report, is left alone however long it takes.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, PgConnection, Row as _};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::script::Script;
use super::{connect, failure, rows};
use crate::limits;

/// `left`: transactions that wait for their client and hold the past, and for how long. Those of other roles are seen by members of
/// `pg_read_all_stats` only.
const LEFT: &str = "WITH left_open AS (
        SELECT pid, coalesce(usename, '') AS role, application_name AS program, state_change,
            clock_timestamp() - state_change AS idle
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
            AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)) ";

/// A transaction that its client has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOpen {
    /// The server's process.
    pub pid: i32,
    /// Who began it.
    pub role: String,
    /// What its client calls itself.
    pub program: String,
    /// How long it has waited.
    pub idle: Duration,
}

/// A running guard; dropping it ends it.
#[derive(Debug)]
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Guard {
    /// Ends transactions that have been idle for so long, soon after.
    pub(super) fn start(options: PgConnectOptions, limit: Duration) -> Self {
        Self(tokio::spawn(keep(options, limit)))
    }
}

async fn keep(options: PgConnectOptions, limit: Duration) {
    let mut looks = tokio::time::interval((limit / 5).clamp(limits::GUARD_OFTEN, limits::GUARD_SELDOM));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut spared = Vec::new();
    loop {
        looks.tick().await;
        let look = tokio::time::timeout(limits::STATEMENT_WAIT, look(&options, limit, &mut spared));
        if let Err(error) = look.await.unwrap_or_else(|_| Err(failure::silent())) {
            tracing::debug!(%error, "nobody looked for transactions that were left open");
        }
    }
}

/// One look, on a connection of its own: seldom enough. `spared` are those that this role may not end; it is said once of each.
async fn look(options: &PgConnectOptions, limit: Duration, spared: &mut Vec<i32>) -> Result<(), sqlx::Error> {
    let mut db = options.connect().await?;
    let left = left_open(&mut db, limit).await?;
    spared.retain(|pid| left.iter().any(|left| left.pid == *pid));
    for left in left {
        if spared.contains(&left.pid) {
            continue;
        }
        let (pid, role, program, idle) = (left.pid, &left.role, &left.program, left.idle.as_secs());
        match end(&mut db, pid, limit).await {
            Ok(true) => {
                metrics::counter!("perennial_database_idle_transactions_ended_total").increment(1);
                tracing::warn!(
                    pid,
                    role,
                    program,
                    idle_seconds = idle,
                    "a transaction that was left open is ended: nothing dead could be cleared away"
                );
            }
            Ok(false) => {}
            Err(error) => {
                spared.push(pid);
                tracing::warn!(pid, role, program, idle_seconds = idle, %error,
                    "a transaction was left open and cannot be ended by this role (pg_signal_backend may): claims get slower");
            }
        }
    }
    connect::end(db).await;
    Ok(())
}

/// What has been idle for so long, the longest first.
pub(super) async fn left_open(db: &mut PgConnection, limit: Duration) -> Result<Vec<LeftOpen>, sqlx::Error> {
    let mut script = Script::new(LEFT);
    script.sql(
        "SELECT pid, role, program, (extract(epoch FROM idle) * 1000)::bigint AS millis FROM left_open WHERE idle >= ",
    );
    bind(&mut script, limit);
    script.sql(" ORDER BY idle DESC LIMIT ").bind(limits::GUARD_ROWS);
    let row = |row: PgRow| {
        let millis: i64 = row.try_get("millis")?;
        Ok(LeftOpen {
            pid: row.try_get("pid")?,
            role: row.try_get("role")?,
            program: row.try_get("program")?,
            idle: Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
        })
    };
    script.rows(db).await?.into_iter().map(row).collect()
}

/// Ends it, if it is idle still.
async fn end(db: &mut PgConnection, pid: i32, limit: Duration) -> Result<bool, sqlx::Error> {
    let mut script = Script::new(LEFT);
    script
        .sql("SELECT pg_terminate_backend(pid) AS ended FROM left_open WHERE pid = ")
        .bind(pid)
        .sql(" AND idle >= ");
    bind(&mut script, limit);
    let rows = script.rows(db).await?;
    rows.first().map_or(Ok(false), |row| row.try_get("ended"))
}

fn bind(script: &mut Script, limit: Duration) {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    script.bind(rows::integer(millis)).sql(" * interval '1 millisecond'");
}
