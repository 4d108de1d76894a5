//! (k): what a claim costs beside ten thousand parked sessions and a thousand mailboxes with mail in them, against a database that
//! has neither, claim by claim in turns.

use std::sync::Arc;

use anyhow::{Result, ensure};
use perennial_broker::log::sqlite::{self, Sqlite};
use perennial_broker::mail;
use perennial_engine::ports::{Letter, Mailboxes, SessionKey, SessionMetadata};
use perennial_schema::content::text_content;
use perennial_schema::mail::{Address, Sender};
use perennial_schema::{KeyId, MessageId, WorkspaceId};
use uuid::Uuid;

use crate::claims::{Desk, at_once};
use crate::postgres::Database;
use crate::report::{Goal, Report, percentile};
use crate::stand::Store;

const SQLITE: &str = "claims beside parked sessions, SQLite";
const POSTGRES: &str = "claims beside parked sessions, Postgres";

/// How much slower the slowest claims may be.
const GOAL: f64 = 1.5;
/// Sessions that are spoken to, in either database.
const SPOKEN_TO: usize = 16;
/// Messages a mailbox has room for.
const ROOM: u32 = 10;
/// Claims that are not counted: statements are planned, caches filled.
const WARM_UP: usize = 20;

/// How much.
#[derive(Clone, Copy)]
struct Size {
    parked: usize,
    mailboxes: usize,
    claims: usize,
}

impl Size {
    const fn of(quick: bool) -> Self {
        let (parked, mailboxes, claims) = if quick { (500, 50, 50) } else { (10_000, 1_000, 1_000) };
        Self {
            parked,
            mailboxes,
            claims,
        }
    }
}

/// One round on SQLite.
pub(crate) async fn sqlite(report: &mut Report, quick: bool) -> Result<()> {
    let size = Size::of(quick);
    let (full_dir, empty_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let full = Sqlite::open(full_dir.path(), sqlite::Settings::default()).await?;
    let empty = Sqlite::open(empty_dir.path(), sqlite::Settings::default()).await?;
    let desks = [Desk::open(empty.clone()).await?, Desk::open(full.clone()).await?];
    desks[1].park(size.parked).await?;
    write_to(mail::embedded(full.clone()), desks[1].workspace, size.mailboxes).await?;
    compare(report, SQLITE, size, desks).await?;
    full.shutdown().await;
    empty.shutdown().await;
    Ok(())
}

/// One round on Postgres.
pub(crate) async fn postgres(report: &mut Report, database: &Database, quick: bool) -> Result<()> {
    let size = Size::of(quick);
    let (full, empty) = (database.store().await?, database.another("empty").await?);
    let desks = [Desk::native(empty.clone()).await?, Desk::native(full.clone()).await?];
    desks[1].park(size.parked).await?;
    write_to(mail::shared(&full), desks[1].workspace, size.mailboxes).await?;
    // As autovacuum does within a minute.
    database.run("VACUUM ANALYZE").await?;
    compare(report, POSTGRES, size, desks).await?;
    full.shutdown().await;
    empty.shutdown().await;
    Ok(())
}

/// A message that nobody fetches in each of so many mailboxes.
async fn write_to(post: Arc<dyn Mailboxes>, workspace: WorkspaceId, mailboxes: usize) -> Result<()> {
    let mut addresses = Vec::with_capacity(mailboxes);
    for number in 0..mailboxes {
        addresses.push(format!("queue/box-{number}").parse::<Address>()?);
    }
    at_once(addresses, move |to| {
        let post = post.clone();
        async move {
            let id = MessageId::from_uuid(Uuid::now_v7());
            let letter = Letter {
                id,
                from: Sender::Key(KeyId::from_uuid(Uuid::from_u128(1))),
                to,
                subject: None,
                content: text_content("waits"),
                thread: id.to_string(),
                in_reply_to: None,
                metadata: SessionMetadata::new(),
                hops: 0,
                deliver_at: None,
                expires_at: None,
                task: None,
                trace: None,
            };
            post.send(workspace, letter, ROOM).await?;
            anyhow::Ok(())
        }
    })
    .await
}

/// In turns: a claim that finds one ready session and a claim that finds none, in the empty and in the full database.
async fn compare<S: Store>(report: &mut Report, scenario: &'static str, size: Size, desks: [Desk<S>; 2]) -> Result<()> {
    let mut spoken_to = Vec::new();
    for desk in &desks {
        spoken_to.push(desk.sessions(SPOKEN_TO).await?);
    }
    let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for turn in 0..size.claims + WARM_UP {
        for ((desk, keys), times) in desks.iter().zip(&spoken_to).zip(&mut times) {
            let (found, none) = one(desk, keys[turn % SPOKEN_TO]).await?;
            if turn >= WARM_UP {
                times[0].push(found);
                times[1].push(none);
            }
        }
    }
    let full = format!("{} parked, {} mailboxes", size.parked, size.mailboxes);
    for (kind, what) in ["one ready", "nothing ready"].into_iter().enumerate() {
        let (empty, full) = (format!("{what}, empty"), format!("{what}, {full}"));
        for (times, what) in times.iter_mut().zip([&empty, &full]) {
            report.add(scenario, what, "p50 ms", percentile(&mut times[kind], 0.5));
            report.add(scenario, what, "p99 ms", percentile(&mut times[kind], 0.99));
        }
        report.ratio(scenario, &full, &empty, "p50 ms", None);
        report.ratio(scenario, &full, &empty, "p99 ms", Some(Goal::AtMost(GOAL)));
    }
    Ok(())
}

async fn one<S: Store>(desk: &Desk<S>, key: SessionKey) -> Result<(f64, f64)> {
    desk.wake(key).await?;
    let (claimed, found) = desk.claim().await?;
    let [claimed] = claimed.as_slice() else {
        anyhow::bail!("one session is ready, and {} were claimed", claimed.len());
    };
    ensure!(claimed.row.key == key, "another session was claimed");
    desk.rest(claimed).await?;
    let (claimed, none) = desk.claim().await?;
    ensure!(claimed.is_empty(), "nothing is ready, and something was claimed");
    Ok((found, none))
}
