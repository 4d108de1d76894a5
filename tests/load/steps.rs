//! (a), (b), (c): durable steps a second, through the engine and at the limit, with what a step costs in CPU time and in
//! bytes written. The three writers of a store take turns within a round, so that a noisy machine is noisy for all of them.

use std::sync::Arc;

use anyhow::Result;
use perennial_broker::log::sqlite::{Settings, Sqlite};
use tokio::sync::Mutex;

use crate::limits;
use crate::postgres::Database;
use crate::report::{Goal, Report};
use crate::sample::{Load, STEPS, Sample, take};
use crate::stand::{Stand, Store};

const SQLITE: &str = "steps on SQLite";
const POSTGRES: &str = "steps on Postgres";

/// Sessions at once; sessions in all, at full length; the share of its limit the engine must reach.
pub(crate) const SIZES: [(usize, usize, f64); 3] = [(1, 20, 0.8), (16, 160, 0.7), (128, 768, 0.6)];
/// CPU milliseconds a step may cost at 128 sessions.
const CPU_MS: f64 = 0.10;
/// Bytes of write-ahead log a step may cost.
const WAL_BYTES: f64 = 3_000.0;

fn loads(quick: bool) -> impl Iterator<Item = (Load, f64)> {
    SIZES.into_iter().map(move |(at_once, sessions, share)| {
        let sessions = if quick { at_once.max(sessions / 16) } else { sessions };
        (Load { at_once, sessions }, share)
    })
}

/// One round on SQLite.
pub(crate) async fn sqlite(report: &mut Report, quick: bool) -> Result<()> {
    for (load, share) in loads(quick) {
        let dir = tempfile::tempdir()?;
        let store = limits::sqlite::OneByOne(Mutex::new(limits::sqlite::open(dir.path()).await?));
        let direct = limits::direct(load, None, Arc::new(store)).await?;

        let dir = tempfile::tempdir()?;
        let writer = limits::sqlite::Together(limits::sqlite::open(dir.path()).await?);
        let group = limits::group(load, None, vec![Box::new(writer)]).await?;

        let dir = tempfile::tempdir()?;
        let store = Sqlite::open(dir.path(), Settings::default()).await?;
        let engine = engine(store.clone(), load, None).await?;
        store.shutdown().await;

        compare(report, SQLITE, load, share, [&direct, &group, &engine]);
    }
    Ok(())
}

/// One round on Postgres.
pub(crate) async fn postgres(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    limits::postgres::prepare(database.options()).await?;
    let server = Some(database.pid()?);
    for (load, share) in loads(quick) {
        let connections = limits::postgres::Connections::open(database.options(), load.at_once).await?;
        let direct = limits::direct(load, server, Arc::new(connections)).await?;

        let writers = limits::postgres::writers(database.options()).await?;
        let before = database.wal_position().await?;
        let group = limits::group(load, server, writers).await?;
        let limit_wal = wal_a_step(load, before, database.wal_position().await?);

        let store = database.store().await?;
        let before = database.wal_position().await?;
        let engine = engine(store.clone(), load, server).await?;
        store.shutdown().await;
        let wal = wal_a_step(load, before, database.wal_position().await?);

        compare(report, POSTGRES, load, share, [&direct, &group, &engine]);
        let what = format!("WAL, {} at once", load.at_once);
        report.add(POSTGRES, &format!("{what}, limit group"), "B/step", limit_wal);
        report.judge(
            POSTGRES,
            &format!("{what}, engine"),
            "B/step",
            Goal::AtMost(WAL_BYTES),
            wal,
        );
    }
    Ok(())
}

/// Bytes of write-ahead log that a step of a load took.
pub(crate) fn wal_a_step(load: Load, before: u64, after: u64) -> f64 {
    (after - before) as f64 / (load.sessions * STEPS) as f64
}

async fn engine<S: Store>(store: S, load: Load, server: Option<u32>) -> Result<Sample> {
    let stand = Stand::start(store, load.at_once.max(1))?;
    let keys = Arc::new(stand.sessions(load.sessions).await?);
    let turn = stand.turner();
    let sample = take(load, server, move |index| turn(keys[index])).await?;
    stand.stop().await?;
    Ok(sample)
}

fn compare(report: &mut Report, scenario: &'static str, load: Load, share: f64, samples: [&Sample; 3]) {
    let name = |what: &str| format!("{what}, {} at once", load.at_once);
    let (direct, group, engine) = (name("limit direct"), name("limit group"), name("engine"));
    for (sample, what) in samples.into_iter().zip([&direct, &group, &engine]) {
        sample.report(report, scenario, what);
    }
    if load.at_once == 128 {
        report.ratio(scenario, &engine, &group, "p99 ms", Some(Goal::AtMost(2.0)));
        report.check(scenario, &engine, "cpu ms", Goal::AtMost(CPU_MS));
    }
    let limit = if load.at_once == 1 { &direct } else { &group };
    report.ratio(scenario, &engine, limit, "steps/s", Some(Goal::AtLeast(share)));
}
