//! (m): what the fence costs a group writer. The engine's store appends as holders do, its check and the session's row included; then
//! writers of the same rows, with the check in their statement and without it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use perennial_broker::log::postgres::Postgres;
use perennial_engine::ports::{Log as _, SessionKey};
use perennial_schema::content::text_content;
use perennial_schema::event::{Body, Message};

use crate::claims::{Desk, at_once, draft, held};
use crate::limits::{self, fenced};
use crate::postgres::Database;
use crate::report::Report;
use crate::sample::{Load, RECORD, STEPS, Sample, letters, take};
use crate::steps::{SIZES, wal_a_step};

const FENCE: &str = "group writers, fenced and not, Postgres";
/// What an event's own members take of its payload.
const ENVELOPE: usize = 150;

/// One round.
pub(crate) async fn round(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    let server = Some(database.pid()?);
    for (at_once, sessions, _) in SIZES {
        let sessions = if quick { at_once.max(sessions / 16) } else { sessions };
        let load = Load { at_once, sessions };
        let name = |what: &str| format!("{what}, {at_once} at once");
        let (store, unfenced, fenced) = (
            name("the engine's store"),
            name("unfenced writer"),
            name("fenced writer"),
        );
        let sample = engine(report, database, load, &store).await?;
        sample.report(report, FENCE, &store);
        let all = fenced::commits(database.options()).await?;
        // The newest are those of this load.
        let rows = all
            .get(all.len().saturating_sub(sessions)..)
            .context("no rows")?
            .to_vec();
        ensure!(rows.iter().all(|rows| rows.len() == 2 * STEPS), "some rows are missing");
        fenced::prepare(database.options()).await?;
        let rows = Arc::new(rows);
        for (what, writers) in [
            (&unfenced, fenced::unfenced(database.options()).await?),
            (&fenced, fenced::fenced(database.options()).await?),
        ] {
            let rows = rows.clone();
            let of = move |index: usize| {
                let rows = rows.clone();
                (0..2 * STEPS).filter_map(move |number| rows.get(index)?.get(number).cloned())
            };
            let before = database.wal_position().await?;
            let sample = limits::group_of(load, server, writers, of).await?;
            sample.report(report, FENCE, what);
            report.add(
                FENCE,
                what,
                "WAL B/step",
                wal_a_step(load, before, database.wal_position().await?),
            );
        }
        for of in [&fenced, &store] {
            report.ratio(FENCE, of, &unfenced, "steps/s", None);
            report.ratio(FENCE, of, &unfenced, "WAL B/step", None);
        }
    }
    Ok(())
}

/// The store of the product, its sessions claimed: two appends of a record each are a step.
async fn engine(report: &mut Report, database: &Database, load: Load, what: &str) -> Result<Sample> {
    let store = database.store().await?;
    let desk = Desk::native(store.clone()).await?;
    let keys = desk.sessions(load.sessions).await?;
    let waker = desk.clone();
    at_once(keys, move |key| {
        let waker = waker.clone();
        async move { waker.wake(key).await }
    })
    .await?;
    let claimed = desk.claim_all().await?;
    ensure!(claimed.len() == load.sessions, "only {} were claimed", claimed.len());
    let leases = Arc::new(claimed);
    let before = database.wal_position().await?;
    let sample = take(load, Some(database.pid()?), {
        let store = store.clone();
        move |index| {
            let (store, leases) = (store.clone(), leases.clone());
            async move {
                let lease = leases.get(index).context("no lease")?;
                steps(&store, lease.row.key, lease.row.epoch).await
            }
        }
    })
    .await?;
    report.add(
        FENCE,
        what,
        "WAL B/step",
        wal_a_step(load, before, database.wal_position().await?),
    );
    store.shutdown().await;
    Ok(sample)
}

async fn steps(store: &Postgres, key: SessionKey, epoch: u64) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let started = Instant::now();
        for _ in 0..2 {
            let message = Message {
                content: text_content(letters(RECORD - ENVELOPE)),
            };
            let event = draft(Body::AgentMessage(message));
            store.append(held(key, epoch, vec![event], false)).await?;
        }
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}
