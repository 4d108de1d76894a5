//! (e): what a session costs to load: 10,000 events of 1 KiB read from the store page by page and folded, against reading
//! bare payloads, parsing them typed, and folding them into nothing but counts.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::{Stream, TryStreamExt as _};
use perennial_broker::log::sqlite::{Settings, Sqlite};
use perennial_engine::kernel::State;
use perennial_engine::ports::{Append, Authority, Log, Projection, ReadFrom, Ready, SessionKey, Sessions};
use perennial_schema::content::text_content;
use perennial_schema::event::{Body, Draft, Message};
use perennial_schema::{AppendId, EventId, SessionId, Timestamp, WorkspaceId};
use perennial_worker::limits::REPLAY_PAGE;
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{ConnectOptions as _, Row as _};
use uuid::Uuid;

use crate::limits;
use crate::postgres::Database;
use crate::report::{Goal, Report};
use crate::sample::RECORD;
use crate::stand::{Store, new_session};

const EVENTS: usize = 10_000;
/// Events of one append: no more than the smaller of a step's two.
const APPEND: usize = 2;
/// Share of the raw read and typed fold that must be reached.
const SHARE: f64 = 0.8;
/// What an event's own members take of its payload.
const ENVELOPE: usize = 170;

const SQLITE: &str = "load and fold on SQLite";
const POSTGRES: &str = "load and fold on Postgres";

/// Loads a round.
const LOADS: usize = 3;

/// One round on SQLite.
pub(crate) async fn sqlite(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Sqlite::open(dir.path(), Settings::default()).await?;
    let (key, payloads) = fill(&store).await?;
    let mut limit = limits::sqlite::open(dir.path()).await?;
    let session = Uuid::now_v7();
    for (seq, payload) in (0_i64..).zip(&payloads) {
        sqlx::query("INSERT INTO records (session, seq, payload) VALUES (?, ?, ?)")
            .bind(session.as_bytes().as_slice())
            .bind(seq)
            .bind(payload)
            .execute(&mut limit)
            .await?;
    }
    for _ in 0..LOADS {
        report.round();
        let started = Instant::now();
        let rows = sqlx::query("SELECT payload FROM records WHERE session = ? ORDER BY seq")
            .bind(session.as_bytes().as_slice())
            .fetch(&mut limit)
            .and_then(|row| async move { row.try_get::<String, _>(0) });
        raw(rows).await?;
        report.add(SQLITE, "raw read, typed fold", "events/s", rate(started));
        engine(report, SQLITE, &store, key).await?;
    }
    store.shutdown().await;
    Ok(())
}

/// One round on Postgres.
pub(crate) async fn postgres(report: &mut Report, database: &Database) -> Result<()> {
    let store = database.store().await?;
    let (key, payloads) = fill(&store).await?;
    limits::postgres::prepare(database.options()).await?;
    let mut limit = database.options().connect().await?;
    let session = Uuid::now_v7();
    let seqs: Vec<i64> = (0_i64..).take(payloads.len()).collect();
    sqlx::query("INSERT INTO limit_records (session, seq, payload) SELECT $1, * FROM UNNEST($2::bigint[], $3::text[])")
        .bind(session.as_bytes().as_slice())
        .bind(seqs)
        .bind(payloads)
        .execute(&mut limit)
        .await?;
    for _ in 0..LOADS {
        report.round();
        let started = Instant::now();
        let rows = sqlx::query("SELECT payload FROM limit_records WHERE session = $1 ORDER BY seq")
            .bind(session.as_bytes().as_slice())
            .fetch(&mut limit)
            .and_then(|row| async move { row.try_get::<String, _>(0) });
        raw(rows).await?;
        report.add(POSTGRES, "raw read, typed fold", "events/s", rate(started));
        engine(report, POSTGRES, &store, key).await?;
    }
    Ok(())
}

fn rate(started: Instant) -> f64 {
    EVENTS as f64 / started.elapsed().as_secs_f64()
}

/// What the limit parses of an event.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    content: &'a RawValue,
}

async fn raw(rows: impl Stream<Item = sqlx::Result<String>>) -> Result<()> {
    let mut rows = std::pin::pin!(rows);
    let (mut said, mut bytes) = (0, 0);
    while let Some(payload) = rows.try_next().await? {
        let typed: Typed<'_> = serde_json::from_str(&payload)?;
        said += usize::from(typed.kind.ends_with(".message"));
        bytes += typed.content.get().len();
    }
    ensure!(said == EVENTS && bytes > EVENTS, "the limit read {said} events");
    Ok(())
}

/// As a worker replays: a page, then its fold.
async fn engine(report: &mut Report, scenario: &'static str, log: &dyn Log, key: SessionKey) -> Result<()> {
    let started = Instant::now();
    let mut state = State::default();
    loop {
        let from = ReadFrom {
            after: state.seq,
            limit: REPLAY_PAGE,
        };
        let records = log.read(key, from).await?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            state.apply(&record.decode()?);
        }
    }
    ensure!(state.seq == EVENTS as u64, "the engine read {} events", state.seq);
    report.add(scenario, "engine", "events/s", rate(started));
    let goal = Some(Goal::AtLeast(SHARE));
    report.ratio(scenario, "engine", "raw read, typed fold", "events/s", goal);
    Ok(())
}

/// A long conversation in the store; also says what its payloads are.
async fn fill<S: Store>(store: &S) -> Result<(SessionKey, Vec<String>)> {
    let key = SessionKey {
        workspace: WorkspaceId::from_uuid(Uuid::now_v7()),
        session: SessionId::from_uuid(Uuid::now_v7()),
    };
    Sessions::create(store, new_session(key), None).await?;
    let mut payloads = Vec::with_capacity(EVENTS);
    for first in (0..EVENTS).step_by(APPEND) {
        let events: Vec<Draft> = (first..first + APPEND).map(message).collect();
        payloads.extend(events.iter().map(|event| event.payload.clone()));
        let append = Append {
            key,
            append_id: AppendId::from_uuid(Uuid::now_v7()),
            events,
            authority: Authority::Client {
                guards: Vec::new(),
                idempotency: None,
            },
            projection: Projection {
                ready: Ready::Never,
                ..Projection::default()
            },
        };
        store.append(append).await?;
    }
    Ok((key, payloads))
}

fn message(index: usize) -> Draft {
    let said = Message {
        content: text_content(&"lorem ipsum ".repeat(90)[..RECORD - ENVELOPE]),
    };
    let body = if index.is_multiple_of(2) {
        Body::UserMessage(said)
    } else {
        Body::AgentMessage(said)
    };
    Draft::new(EventId::from_uuid(Uuid::now_v7()), body, Timestamp::from_micros(0))
}
