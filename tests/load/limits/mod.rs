//! The limits: the least a program can do that stores the same records on the same disk. No lease, no fold, no check: what
//! an engine adds shows against these.

pub(crate) mod fenced;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc, oneshot};
use uuid::Uuid;

use crate::sample::{Load, STEPS, Sample, payload, take};

/// Most records that travel together.
const BATCH: usize = 256;
/// Records that may wait.
const QUEUE: usize = 1024;

/// A record on its way.
#[derive(Debug)]
pub(crate) struct Row {
    session: Uuid,
    seq: i64,
    payload: String,
}

/// Something that stores records; returns once they survive a crash.
#[async_trait]
pub(crate) trait Direct: Send + Sync + 'static {
    /// One record, one commit. `lane` is the session's number: a limited number of connections is shared by it.
    async fn write(&self, lane: usize, row: Row) -> Result<()>;
}

/// Something that stores many records in one commit.
#[async_trait]
pub(crate) trait Group<R>: Send + 'static {
    /// All of them or none.
    async fn write(&mut self, rows: &[R]) -> Result<()>;
}

/// Each record in a commit of its own.
pub(crate) async fn direct(load: Load, server: Option<u32>, store: Arc<dyn Direct>) -> Result<Sample> {
    take(load, server, move |index| {
        let store = store.clone();
        session(records(index), move |row| {
            let store = store.clone();
            async move { store.write(index, row).await }
        })
    })
    .await
}

struct Waiting<R> {
    row: R,
    done: oneshot::Sender<()>,
}

/// Writers that take whatever waits, never waiting for more, and answer after the commit.
pub(crate) async fn group(load: Load, server: Option<u32>, writers: Vec<Box<dyn Group<Row>>>) -> Result<Sample> {
    group_of(load, server, writers, records).await
}

/// The same with rows of one's own, two of them a step of the n-th session.
pub(crate) async fn group_of<R, I>(
    load: Load,
    server: Option<u32>,
    writers: Vec<Box<dyn Group<R>>>,
    rows: impl Fn(usize) -> I + Send + Sync + 'static,
) -> Result<Sample>
where
    R: Send + Sync + 'static,
    I: Iterator<Item = R> + Send + 'static,
{
    let (inbox, waiting) = mpsc::channel::<Waiting<R>>(QUEUE);
    let waiting = Arc::new(Mutex::new(waiting));
    for writer in writers {
        tokio::spawn(serve(writer, waiting.clone()));
    }
    take(load, server, move |index| {
        let inbox = inbox.clone();
        session(rows(index), move |row| {
            let inbox = inbox.clone();
            async move {
                let (done, answer) = oneshot::channel();
                inbox.send(Waiting { row, done }).await?;
                Ok(answer.await?)
            }
        })
    })
    .await
}

async fn serve<R: Send + Sync + 'static>(
    mut writer: Box<dyn Group<R>>,
    waiting: Arc<Mutex<mpsc::Receiver<Waiting<R>>>>,
) -> Result<()> {
    loop {
        let mut rows = Vec::new();
        let mut answers = Vec::new();
        {
            let mut waiting = waiting.lock().await;
            let Some(first) = waiting.recv().await else {
                return Ok(());
            };
            let mut next = Some(first);
            while let Some(one) = next {
                rows.push(one.row);
                answers.push(one.done);
                next = if rows.len() < BATCH {
                    waiting.try_recv().ok()
                } else {
                    None
                };
            }
        }
        writer.write(&rows).await?;
        for done in answers {
            // Nobody goes away before the answer.
            let _ = done.send(());
        }
    }
}

async fn session<R, F>(mut rows: impl Iterator<Item = R>, write: impl Fn(R) -> F) -> Result<Vec<f64>>
where
    F: Future<Output = Result<()>>,
{
    let mut times = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let started = Instant::now();
        for _ in 0..2 {
            write(rows.next().context("a session has too few records")?).await?;
        }
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

/// A session's records, each made when it is asked for.
fn records(index: usize) -> impl Iterator<Item = Row> {
    let session = Uuid::now_v7();
    (0..).map(move |seq| Row {
        session,
        seq,
        payload: payload(index, usize::try_from(seq).unwrap_or_default()),
    })
}
