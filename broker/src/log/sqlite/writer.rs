//! The one writer: a task that owns the only writing connection. It drains whatever waits into one transaction, commits,
//! and only then answers (I2). Callers merely wait for their answer: cancelling one can neither poison a connection nor tear
//! a commit (I18, INVARIANTS §0.5).

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{Append, AppendError, Appended, Clock, StoreError};
use perennial_schema::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::failure::{self, Halt};
use super::heads::Heads;
pub(super) use super::heads::Left;
use super::lock::Lock;
use super::{claim, group, prune};
use crate::limits;

/// Something to do inside the writer's transaction. What it does must leave the transaction as it was when it is refused:
/// check first, write in one [`Script`](super::script::Script).
#[async_trait]
pub(crate) trait Verb: Send + Sync + 'static {
    type Answer: Send;
    type Refusal: From<StoreError> + Send;

    /// Checks and writes.
    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Self::Answer, Halt<Self::Refusal>>;

    /// Roughly how many bytes it writes.
    fn bytes(&self) -> usize {
        0
    }

    /// Sessions as it left them, as far as it can say: their next append needs no look.
    fn left(_: &mut Self::Answer) -> Vec<Left> {
        Vec::new()
    }

    /// Whether its answer promises that it survives a power loss (I2). Leases promise nothing of the kind: every append under
    /// a lease is a later commit in the same file, and its sync carries the claim along.
    fn durable(&self) -> bool {
        true
    }
}

/// A ticket with the type of its answer erased.
#[async_trait]
pub(super) trait Member: Send {
    async fn run(&mut self, db: &mut SqliteConnection, heads: &mut Heads, now: Timestamp) -> Result<(), sqlx::Error>;
    fn answer(self: Box<Self>, fate: Result<(), StoreError>);
    fn bytes(&self) -> usize;
    fn durable(&self) -> bool;
}

/// A verb and who waits for it.
pub(super) struct Ticket<V: Verb> {
    pub(super) verb: V,
    pub(super) outcome: Option<Result<V::Answer, V::Refusal>>,
    reply: oneshot::Sender<Result<V::Answer, V::Refusal>>,
}

#[async_trait]
impl<V: Verb> Member for Ticket<V> {
    async fn run(&mut self, db: &mut SqliteConnection, heads: &mut Heads, now: Timestamp) -> Result<(), sqlx::Error> {
        self.outcome = Some(match self.verb.run(db, now).await {
            Ok(mut answer) => {
                for left in V::left(&mut answer) {
                    heads.wrote(left);
                }
                Ok(answer)
            }
            Err(Halt::Refused(refusal)) => Err(refusal),
            Err(Halt::Lost(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, fate: Result<(), StoreError>) {
        let not_run = || Err(failure::unavailable("the writer stopped").into());
        let answer = match fate {
            Ok(()) => self.outcome.unwrap_or_else(not_run),
            // A refusal, too, rests on what the lost transaction showed.
            Err(error) => Err(error.into()),
        };
        // A caller that went away needs no answer: it asks again by append id or key.
        let _ = self.reply.send(answer);
    }

    fn bytes(&self) -> usize {
        self.verb.bytes()
    }

    fn durable(&self) -> bool {
        self.verb.durable()
    }
}

/// What waits. Appends keep their type: several of them are written together.
pub(super) enum Work {
    Append(Box<Ticket<Append>>),
    Other(Box<dyn Member>),
}

impl Work {
    fn answer(self, fate: Result<(), StoreError>) {
        match self {
            Self::Append(ticket) => ticket.answer(fate),
            Self::Other(member) => member.answer(fate),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(ticket) => ticket.verb.bytes(),
            Self::Other(member) => member.bytes(),
        }
    }

    fn durable(&self) -> bool {
        match self {
            Self::Append(_) => true,
            Self::Other(member) => member.durable(),
        }
    }
}

enum Order {
    Do(Work),
    Stop,
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Order>,
}

impl Writer {
    /// Has a verb done; returns after its commit.
    pub(super) async fn ask<V: Verb>(&self, verb: V) -> Result<V::Answer, V::Refusal> {
        self.wait(verb, |ticket| Work::Other(Box::new(ticket))).await
    }

    /// Appends; returns after the commit.
    pub(super) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.wait(append, |ticket| Work::Append(Box::new(ticket))).await
    }

    async fn wait<V: Verb>(&self, verb: V, work: impl FnOnce(Ticket<V>) -> Work) -> Result<V::Answer, V::Refusal> {
        let place = match tokio::time::timeout(limits::QUEUE_WAIT, self.inbox.reserve()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(failure::unavailable("the server is shutting down").into()),
            Err(_) => return Err(failure::unavailable("too many writes are waiting: try again").into()),
        };
        let (reply, answer) = oneshot::channel();
        place.send(Order::Do(work(Ticket {
            verb,
            outcome: None,
            reply,
        })));
        answer.await.unwrap_or_else(|_| {
            Err(V::Refusal::from(StoreError::Unknown {
                message: "the writer ended before it answered".into(),
            }))
        })
    }

    /// Lets the writer finish what it was given, and end.
    pub(super) async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.inbox.send(Order::Stop).await;
    }
}

/// The task.
pub(super) struct Task {
    inbox: mpsc::Receiver<Order>,
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// What is known of sessions, once a connection is followed.
    heads: Option<Heads>,
    clock: Arc<dyn Clock>,
    pruned: Timestamp,
    /// Released when the task ends, that is after its last write.
    _lock: Lock,
}

/// Starts the writer over an open connection.
pub(super) fn start(
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    clock: Arc<dyn Clock>,
    lock: Lock,
) -> (Writer, tokio::task::JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(limits::WRITER_QUEUE);
    let task = Task {
        inbox,
        options,
        connection: Some(connection),
        heads: None,
        pruned: clock.now(),
        clock,
        _lock: lock,
    };
    (Writer { inbox: sender }, tokio::spawn(task.run()))
}

impl Task {
    async fn run(mut self) {
        let mut stopping = false;
        while !stopping {
            let Some(first) = self.inbox.recv().await else { break };
            let batch = self.drain(first, &mut stopping);
            let several = batch.len() > 1;
            if !batch.is_empty() {
                self.commit(batch).await;
            }
            if several {
                // Who was just answered may have more to say: let them, instead of committing the fastest one alone.
                tokio::task::yield_now().await;
            }
        }
        self.inbox.close();
        while let Some(Order::Do(work)) = self.inbox.recv().await {
            work.answer(Err(failure::unavailable("the server is shutting down")));
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the session store");
        }
    }

    /// Everything that waits now, never waiting for more.
    fn drain(&mut self, first: Order, stopping: &mut bool) -> Vec<Work> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Do(work) => {
                    bytes += work.bytes();
                    batch.push(work);
                }
                Order::Stop => {
                    *stopping = true;
                    break;
                }
            }
            let room = batch.len() < limits::BATCH && bytes < limits::BATCH_BYTES;
            next = if room { self.inbox.try_recv().ok() } else { None };
        }
        batch
    }

    async fn commit(&mut self, mut batch: Vec<Work>) {
        let fate = match self.connect().await {
            Ok((mut connection, mut heads)) => {
                let fate = transact(&mut connection, &mut heads, &mut batch, self.clock.as_ref()).await;
                match &fate {
                    Ok(()) => heads.committed(),
                    Err(_) => heads.lost(),
                }
                self.settle(connection, heads, &fate).await;
                fate.map_err(|lost| lost.said)
            }
            Err(error) => Err(failure::before_commit(&error)),
        };
        if let Err(error) = &fate {
            tracing::error!(%error, batch.members = batch.len(), "a commit failed");
        }
        for work in batch {
            work.answer(match &fate {
                Ok(()) => Ok(()),
                Err(error) => Err(failure::copy(error)),
            });
        }
        if fate.is_ok() {
            self.prune().await;
        }
    }

    /// The connection; a new one after a failure, so that writing resumes once the cause is gone.
    async fn connect(&mut self) -> Result<(SqliteConnection, Heads), sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        let heads = match self.heads.take() {
            Some(heads) => heads,
            None => {
                claim::prepare(&mut connection).await?;
                Heads::following(&mut connection).await?
            }
        };
        Ok((connection, heads))
    }

    /// Keeps the connection unless the transaction broke on it.
    async fn settle(&mut self, connection: SqliteConnection, heads: Heads, fate: &Result<(), Lost>) {
        match fate {
            Err(lost) if !lost.healthy => {
                // Closing rolls back whatever is left.
                if let Err(error) = connection.close().await {
                    tracing::warn!(%error, "closing a failed connection");
                }
            }
            _ => (self.connection, self.heads) = (Some(connection), Some(heads)),
        }
    }

    async fn prune(&mut self) {
        let now = self.clock.now();
        if now < self.pruned.plus_millis(limits::PRUNE_EVERY_MILLIS) {
            return;
        }
        self.pruned = now;
        if let Some(connection) = &mut self.connection
            && let Err(error) = prune::forgotten_keys(connection, now).await
        {
            tracing::warn!(%error, "sweeping out old idempotency keys");
        }
    }
}

/// A transaction that did not commit.
pub(super) struct Lost {
    pub(super) said: StoreError,
    /// Whether the connection may be used again.
    pub(super) healthy: bool,
}

async fn transact(
    db: &mut SqliteConnection,
    heads: &mut Heads,
    batch: &mut [Work],
    clock: &dyn Clock,
) -> Result<(), Lost> {
    if group::whole(db, heads, batch, clock).await? {
        return Ok(());
    }
    let before = |error: sqlx::Error| Lost {
        healthy: false,
        said: failure::before_commit(&error),
    };
    // A connection is at FULL between transactions; one that fails in here is closed.
    let durable = batch.iter().any(Work::durable);
    let (begin, commit) = if durable {
        ("BEGIN IMMEDIATE", "COMMIT")
    } else {
        (
            "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE",
            "COMMIT; PRAGMA synchronous = FULL",
        )
    };
    db.execute(begin).await.map_err(|error| Lost {
        healthy: durable && failure::is_busy(&error),
        said: failure::before_commit(&error),
    })?;
    let now = clock.now();
    group::run(db, heads, batch, now).await.map_err(before)?;
    fail::fail_point!("broker.commit.before");
    db.execute(commit).await.map_err(|error| Lost {
        healthy: false,
        said: failure::at_commit(&error),
    })?;
    fail::fail_point!("broker.commit.after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::System;

    /// Reads the pragma inside its transaction.
    struct Synchronous {
        durable: bool,
        seen: Arc<Mutex<Vec<i64>>>,
    }

    #[async_trait]
    impl Verb for Synchronous {
        type Answer = ();
        type Refusal = StoreError;

        fn durable(&self) -> bool {
            self.durable
        }

        async fn run(&self, db: &mut SqliteConnection, _: Timestamp) -> Result<(), Halt<StoreError>> {
            let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(db).await?;
            self.seen.lock().expect("not poisoned").push(level);
            Ok(())
        }
    }

    /// FULL is 2, NORMAL is 1. A batch without a promise must not leave the connection at NORMAL for one with a promise.
    #[tokio::test]
    async fn only_what_promises_nothing_is_left_unsynced() {
        let dir = tempfile::tempdir().expect("a folder");
        let options = crate::log::sqlite::connect::options(dir.path());
        let connection = options.connect().await.expect("a database");
        let lock = Lock::take(dir.path()).await.expect("nobody else is here");
        let (writer, task) = start(connection, options, Arc::new(System), lock);
        let seen = Arc::<Mutex<Vec<i64>>>::default();
        for durable in [true, false, true] {
            writer
                .ask(Synchronous {
                    durable,
                    seen: seen.clone(),
                })
                .await
                .expect("done");
        }
        writer.stop().await;
        task.await.expect("ended");
        assert_eq!(*seen.lock().expect("not poisoned"), [2, 1, 2]);
    }
}
