//! (o): what claims cost in an hour of turns in which somebody leaves a transaction open, so that nothing that is dead can be cleared
//! away until the guard of the store ends it: before it was opened, while it was open, and in the end. Postgres does its own
//! vacuuming, as installed; what the guard gives a transaction is the default of a server, as much of an hour of a shorter soak.
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
/// Which part of the soak a transaction may be idle: five minutes of an hour, as a server gives it.
const GIVEN: u32 = 12;

/// When a claim was made, and how long it took in milliseconds.
type Claims = Arc<Mutex<Vec<(Instant, f64)>>>;

/// The soak: so many minutes.
pub(crate) async fn round(report: &mut Report, database: &Database, minutes: u64, quick: bool) -> Result<()> {
    let pace = Duration::from_secs(1) * u32::try_from(WORKERS)? / if quick { QUICK_TURNS } else { TURNS };
    let whole = Duration::from_secs(minutes * 60);
    // Long enough for a percentile.
    let window = (whole / 6).min(Duration::from_secs(300));
    let begun = Instant::now();
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
    Bloat::of(database).await?.add(report, "when it was opened");
    let given = whole / GIVEN;
    let _guard = store.guard(given);
    let opened = Instant::now();
    let idle = Idle::open(database).await?;
    eprintln!("soak: a transaction is open; {minutes} minutes in all");
    idle.until_ended(database, given * 2).await?;
    let cut = Instant::now();
    Bloat::of(database).await?.add(report, "when it was ended");
    eprintln!("soak: it was ended after {:?}", cut - opened);
    tokio::select! {
        () = tokio::time::sleep(whole.saturating_sub(begun.elapsed())) => {}
        ended = workers.join_next() => ended.context("nobody works")??.context("a worker ended")?,
    }
    let ended = Instant::now();
    stop.cancel();
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let after = Bloat::of(database).await?;
    store.shutdown().await;

    let claims = std::mem::take(&mut *claims.lock().unwrap_or_else(PoisonError::into_inner));
    let took = |from: Instant, to: Instant| -> Vec<f64> {
        let within = claims.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, took)| *took).collect()
    };
    report.add(SOAK, "claims in all", "claims", claims.len() as f64);
    report.add(
        SOAK,
        "the idle transaction",
        "s until it was ended",
        (cut - opened).as_secs_f64(),
    );
    let first = "claim before it was opened";
    let windows = [
        (first, opened - window, opened),
        // The worse half.
        ("claim while it was open", opened + (cut - opened) / 2, cut),
        ("claim in the end", ended - window, ended),
    ];
    for (what, from, to) in windows {
        let mut times = took(from, to);
        report.add(SOAK, what, "claims", times.len() as f64);
        report.add(SOAK, what, "p50 ms", percentile(&mut times, 0.5));
        report.add(SOAK, what, "p99 ms", percentile(&mut times, 0.99));
        if what != first {
            report.ratio(SOAK, what, first, "p50 ms", None);
            report.ratio(SOAK, what, first, "p99 ms", Some(Goal::AtMost(GOAL)));
        }
    }
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

/// A transaction that looks at the past, and whose client does nothing.
struct Idle {
    connection: PgConnection,
    pid: i32,
}

impl Idle {
    async fn open(database: &Database) -> Result<Self> {
        let mut connection = PgConnection::connect_with(database.options()).await?;
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let pid = sqlx::query_scalar("SELECT pg_backend_pid() FROM (SELECT count(*) FROM sessions) s");
        let pid = pid.fetch_one(&mut connection).await?;
        Ok(Self { connection, pid })
    }

    /// Waits until somebody ends it.
    async fn until_ended(mut self, database: &Database, patience: Duration) -> Result<()> {
        let mut outside = PgConnection::connect_with(database.options()).await?;
        let ended = async {
            loop {
                let there = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)");
                if !there.bind(self.pid).fetch_one(&mut outside).await? {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(patience, ended)
            .await
            .context("nobody ends the idle transaction")??;
        outside.close().await?;
        anyhow::ensure!(self.connection.execute("COMMIT").await.is_err(), "it is there still");
        Ok(())
    }
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
