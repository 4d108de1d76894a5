//! (o): what a claim costs after an hour of turns while somebody's transaction stays open, so that nothing that is dead can be
//! cleared away: against the same claims before that transaction began. Postgres does its own vacuuming, as installed.
//!
//! As many turns a second as four workers of eight slots have of turns that take some six seconds each; a quick one has forty times as
//! many, and so leaves as much behind in a minute as an hour does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use perennial_engine::ports::SessionKey;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::claims::Desk;
use crate::postgres::Database;
use crate::report::{Goal, Report, percentile};
use crate::stand::Store;

const SOAK: &str = "a soak with an idle transaction open";
/// Sessions whose turns these are.
const SESSIONS: usize = 1_000;
/// Who claims at once.
const WORKERS: usize = 4;
/// Turns a second of all of them.
const TURNS: u32 = 5;
/// The same of a quick soak.
const QUICK_TURNS: u32 = 200;
/// How much slower the slowest claims may be in the end.
const GOAL: f64 = 5.0;

/// When a claim was made, and how long it took in milliseconds.
type Claims = Arc<Mutex<Vec<(Instant, f64)>>>;

/// The soak: so many minutes.
pub(crate) async fn round(report: &mut Report, database: &Database, minutes: u64, quick: bool) -> Result<()> {
    let pace = Duration::from_secs(1) * u32::try_from(WORKERS)? / if quick { QUICK_TURNS } else { TURNS };
    let whole = Duration::from_secs(minutes * 60);
    // Long enough for a percentile.
    let window = (whole / 6).min(Duration::from_secs(300));
    let store = database.store().await?;
    let desk = Desk::native(store.clone()).await?;
    let keys = desk.sessions(SESSIONS).await?;
    database.run("VACUUM ANALYZE").await?;
    let claims = Claims::default();
    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    for share in keys.chunks(SESSIONS.div_ceil(WORKERS)) {
        workers.spawn(work(desk.clone(), share.to_vec(), pace, claims.clone(), stop.clone()));
    }
    tokio::time::sleep(window).await;
    let opened = Instant::now();
    let mut idle = PgConnection::connect_with(database.options()).await?;
    idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    idle.execute("SELECT count(*) FROM sessions").await?;
    let before = Bloat::of(database).await?;
    before.add(report, "when it was opened");
    eprintln!("soak: a transaction is open; {minutes} minutes in all");
    tokio::select! {
        () = tokio::time::sleep(whole.saturating_sub(window)) => {}
        ended = workers.join_next() => ended.context("nobody works")??.context("a worker ended")?,
    }
    let ended = Instant::now();
    stop.cancel();
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let after = Bloat::of(database).await?;
    idle.execute("COMMIT").await?;
    idle.close().await?;
    store.shutdown().await;

    let claims = std::mem::take(&mut *claims.lock().unwrap_or_else(PoisonError::into_inner));
    let took = |from: Instant, to: Instant| -> Vec<f64> {
        let within = claims.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, took)| *took).collect()
    };
    let mut first = took(opened.checked_sub(window).context("a young machine")?, opened);
    let mut last = took(ended.checked_sub(window).context("a young machine")?, ended);
    report.add(SOAK, "claims in all", "claims", claims.len() as f64);
    for (what, times) in [("at the beginning", &mut first), ("in the end", &mut last)] {
        let what = format!("claim {what}");
        report.add(SOAK, &what, "claims", times.len() as f64);
        report.add(SOAK, &what, "p50 ms", percentile(times, 0.5));
        report.add(SOAK, &what, "p99 ms", percentile(times, 0.99));
    }
    let (first, last) = ("claim at the beginning", "claim in the end");
    report.ratio(SOAK, last, first, "p50 ms", None);
    report.ratio(SOAK, last, first, "p99 ms", Some(Goal::AtMost(GOAL)));
    after.add(report, "in the end");
    Ok(())
}

/// Turns at an even pace: somebody writes, it is claimed, goes on, and rests.
async fn work<S: Store>(
    desk: Desk<S>,
    keys: Vec<SessionKey>,
    pace: Duration,
    claims: Claims,
    stop: CancellationToken,
) -> Result<()> {
    let mut pace = tokio::time::interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for key in keys.into_iter().cycle() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = pace.tick() => {}
        }
        desk.wake(key).await?;
        let at = Instant::now();
        let (claimed, took) = desk.claim().await?;
        claims.lock().unwrap_or_else(PoisonError::into_inner).push((at, took));
        for claimed in &claimed {
            desk.go_on(claimed).await?;
            desk.rest(claimed).await?;
        }
    }
    Ok(())
}

/// What the table of sessions carries along.
struct Bloat {
    dead: i64,
    table_bytes: i64,
    ready_bytes: i64,
    vacuums: i64,
}

impl Bloat {
    async fn of(database: &Database) -> Result<Self> {
        let mut connection = PgConnection::connect_with(database.options()).await?;
        // Each process tells of its rows once a second at most.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let row = connection
            .fetch_one(
                "SELECT n_dead_tup AS dead, autovacuum_count AS vacuums, pg_relation_size('sessions') AS table_bytes,
                    pg_relation_size('sessions_ready') AS ready_bytes
                 FROM pg_stat_user_tables WHERE relname = 'sessions'",
            )
            .await?;
        connection.close().await?;
        Ok(Self {
            dead: row.try_get("dead")?,
            table_bytes: row.try_get("table_bytes")?,
            ready_bytes: row.try_get("ready_bytes")?,
            vacuums: row.try_get("vacuums")?,
        })
    }

    fn add(&self, report: &mut Report, when: &str) {
        let mib = |bytes: i64| bytes as f64 / 1024.0 / 1024.0;
        report.add(
            SOAK,
            &format!("dead tuples of sessions {when}"),
            "tuples",
            self.dead as f64,
        );
        report.add(SOAK, &format!("sessions {when}"), "MiB", mib(self.table_bytes));
        report.add(SOAK, &format!("sessions_ready {when}"), "MiB", mib(self.ready_bytes));
        report.add(
            SOAK,
            &format!("autovacuums of sessions {when}"),
            "runs",
            self.vacuums as f64,
        );
    }
}
