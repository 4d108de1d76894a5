//! F26: clocks that are wrong. A worker's is an hour ahead or behind, the database's ten minutes behind and then jumps ahead
//! again, while workers are killed and frozen: who may write is decided by epochs, when a lease ends by the database's clock,
//! and when a worker gives up by one that cannot be set.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use perennial_proof::prove::{self, Fault, Plan, Until};
use sqlx::{Connection as _, PgConnection};

use crate::place::{Place, count, say, seed};

#[tokio::test]
async fn wrong_clocks_break_no_promise() -> Result<()> {
    let Some(place) = Place::with_clocks().await? else {
        return Ok(());
    };
    the_databases_clock_can_be_set(&place).await?;
    let house = place.house(2, 3).await?.with_outages(place.outages());
    let counts = [
        (Fault::JumpWorker, 50),
        (Fault::JumpDatabase, 20),
        (Fault::KillWorker, 30),
        (Fault::Freeze, 10),
    ];
    let plan = Plan {
        seed: seed("clocks"),
        sessions: 8,
        until: Until::Counts(counts.map(|(fault, full)| (fault, count(full))).into()),
        sabotage: None,
        opening: None,
    };
    let verdict = prove::run(&plan, house, &|_| {}).await?;
    for line in verdict.table().lines() {
        say(format_args!("{line}"));
    }
    assert!(verdict.is_clean(), "{:#?}", verdict.violations);
    let wrong = wrong_times(&place)?;
    say(format_args!(
        "{wrong} lines of workers' logs have a time of day that was not"
    ));
    ensure!(wrong > 0, "no worker went by a wrong clock: the rig is vacuous");
    Ok(())
}

/// Not vacuous: lines of the workers' logs that they stamped with a time more than half an hour off.
fn wrong_times(place: &Place) -> Result<usize> {
    let mut wrong = 0;
    for entry in std::fs::read_dir(place.dir.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.contains("-worker-") && name.ends_with(".log")) {
            continue;
        }
        let log = std::fs::read_to_string(&path)?;
        let times = log
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse::<DateTime<Utc>>().ok());
        wrong += times.filter(|at| (Utc::now() - *at).num_minutes().abs() > 30).count();
    }
    Ok(wrong)
}

/// Not vacuous: the library is in force.
async fn the_databases_clock_can_be_set(place: &Place) -> Result<()> {
    let mut outages = place.outages();
    outages.set_clock(-600).await?;
    let mut connection = PgConnection::connect(place.urls().0).await?;
    let now: f64 = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
        .fetch_one(&mut connection)
        .await?;
    let here = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .context("the time")?
        .as_secs_f64();
    ensure!((595.0..605.0).contains(&(here - now)), "{here} here, {now} there");
    connection.close().await?;
    outages.set_clock(0).await
}
