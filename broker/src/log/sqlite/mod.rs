//! The embedded log: one SQLite file in a data directory, one writer, a few readers.
//!
//! * `lock` refuses a second server; holding it, `open` frees the leases of every earlier process.
//! * `writer` commits whatever waits in one transaction and then answers; `group` writes the appends among it together.
//! * `append`, `create`, `leases` and `claim` are what can happen in such a transaction, after the rules of `log::rules`.
//! * `read` and `find` only read; they run in tasks of their own, so that a cancelled caller leaves no half-used connection.

mod append;
mod claim;
mod connect;
mod create;
mod failure;
mod find;
mod group;
mod heads;
mod idempotency;
mod leases;
mod lock;
mod prune;
mod read;
mod rows;
mod script;
mod write;
mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Append, AppendError, Appended, ChangeCursor, Claimed, Clock, EventFilter, ForkFrom, Held, Leases, Log, NewSession,
    Past, Reach, ReadFrom, Ready, ReadyCount, RenewError, SessionFilter, SessionKey, SessionRow, Sessions, StoreError,
};
use perennial_schema::event::Record;
use perennial_schema::{EventId, OwnerId, WorkspaceId};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection, SqlitePool};

pub(crate) use failure::{Halt, before_commit, refuse};
use lock::Lock;
pub(crate) use writer::Verb;
use writer::Writer;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../schema/migrations/sqlite");

/// What a store needs from outside.
#[derive(Clone)]
pub struct Settings {
    /// The clock that stamps commits and judges leases.
    pub clock: Arc<dyn Clock>,
    /// At most so many sessions of a workspace are held at once; none means as many as there are slots.
    pub workspace_slots: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(crate::clock::System),
            workspace_slots: None,
        }
    }
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server runs on this data directory.
    #[error("{} is held by process {by}: stop that server, or choose another data directory", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Process id, as the lock file says it.
        by: String,
    },
    /// The directory cannot be made or written.
    #[error("the data directory {} cannot be written: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("the schema of {} cannot be brought up to date: {source}", path.display())]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// The file cannot be opened as a database.
    #[error("{} cannot be opened: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

/// The embedded store. Cheap to clone; all clones share one writer.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    readers: SqlitePool,
    accounts: SqlitePool,
    clock: Arc<dyn Clock>,
    workspace_slots: Option<u32>,
}

impl Sqlite {
    /// Takes the data directory's lock, brings the schema up to date, and frees the leases of earlier processes: the lock
    /// proves them dead, so each session they held counts one attempt.
    ///
    /// # Errors
    /// When another server holds the directory, or it cannot be written, or the file is not ours.
    pub async fn open(data_dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        let lock = Lock::take(data_dir).await?;
        let options = connect::options(data_dir);
        let mut connection = migrated(data_dir).await?;
        free_all(&mut connection, settings.clock.as_ref())
            .await
            .map_err(|source| database(data_dir, source))?;
        let readers = connect::readers(&options);
        let accounts = connect::accounts(&options);
        let (writer, task) = writer::start(connection, options, Arc::clone(&settings.clock), lock);
        let inner = Inner {
            writer,
            task: Mutex::new(Some(task)),
            readers,
            accounts,
            clock: settings.clock,
            workspace_slots: settings.workspace_slots,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A small pool on the same file for the accounts' tables. Its users keep their transactions short and begin them with
    /// `BEGIN IMMEDIATE`: while one is open, no session can be written.
    #[must_use]
    pub fn pool_for_accounts(&self) -> SqlitePool {
        self.inner.accounts.clone()
    }

    /// Finishes what was asked for, closes the file and gives the lock back. Later calls answer `Unavailable`.
    pub async fn shutdown(&self) {
        self.inner.accounts.close().await;
        self.inner.readers.close().await;
        self.inner.writer.stop().await;
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer failed");
        }
    }

    /// Has something done in a transaction of the one writer.
    pub(crate) async fn ask<V: Verb>(&self, verb: V) -> Result<V::Answer, V::Refusal> {
        self.inner.writer.ask(verb).await
    }

    /// The clock that stamps commits.
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    /// How many sessions a workspace gets at once.
    pub(crate) fn workspace_slots(&self) -> Option<u32> {
        self.inner.workspace_slots
    }

    /// Reads in a task of its own: dropping the caller drops no query half-way (I18).
    pub(crate) async fn read<T, F>(&self, ask: impl FnOnce(SqlitePool) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = tokio::spawn(ask(self.inner.readers.clone())).await;
        answer.unwrap_or_else(|error| Err(failure::unavailable(format!("a reader failed: {error}"))))
    }
}

/// Brings a data directory's schema up to date; refused while a server runs on it.
///
/// # Errors
/// As [`Sqlite::open`].
pub async fn migrate(data_dir: &Path) -> Result<(), OpenError> {
    let _lock = Lock::take(data_dir).await?;
    let connection = migrated(data_dir).await?;
    connection.close().await.map_err(|source| database(data_dir, source))
}

async fn migrated(data_dir: &Path) -> Result<SqliteConnection, OpenError> {
    let connection = connect::options(data_dir).connect().await;
    let mut connection = connection.map_err(|source| database(data_dir, source))?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|source| OpenError::Migrate {
            path: data_dir.join(connect::FILE),
            source,
        })?;
    Ok(connection)
}

fn database(data_dir: &Path, source: sqlx::Error) -> OpenError {
    OpenError::Database {
        path: data_dir.join(connect::FILE),
        source,
    }
}

async fn free_all(db: &mut SqliteConnection, clock: &dyn Clock) -> Result<(), sqlx::Error> {
    db.execute("BEGIN IMMEDIATE").await?;
    db.execute("DELETE FROM owners").await?;
    leases::free_dead(db, clock.now()).await?;
    db.execute("COMMIT").await?;
    Ok(())
}

#[async_trait]
impl Log for Sqlite {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.inner.writer.append(append).await
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        self.read(move |pool| async move { read::tail(&pool, key, from).await })
            .await
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.read(move |pool| async move { read::one(&pool, key, id).await })
            .await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.read(move |pool| async move { read::list(&pool, key, filter).await })
            .await
    }
}

#[async_trait]
impl Sessions for Sqlite {
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError> {
        let past = Vec::new();
        self.inner.writer.ask(create::Create { new, fork, past }).await
    }

    async fn import(&self, new: NewSession, past: Vec<Past>) -> Result<Appended, AppendError> {
        let fork = None;
        self.inner.writer.ask(create::Create { new, fork, past }).await
    }

    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let now = self.inner.clock.now();
        self.read(move |pool| async move { find::one(&pool, key, now).await })
            .await
    }

    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let now = self.inner.clock.now();
        self.read(move |pool| async move { find::many(&pool, workspace, filter, now).await })
            .await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        let now = self.inner.clock.now();
        self.read(move |pool| async move { find::changed(&pool, workspace, after, limit, now).await })
            .await
    }
}

#[async_trait]
impl Leases for Sqlite {
    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError> {
        let verb = leases::Register {
            owner,
            ttl_millis,
            reach: reach.clone(),
        };
        self.inner.writer.ask(verb).await
    }

    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError> {
        let verb = leases::Claim {
            owner,
            limit,
            pass_by: pass_by.to_vec(),
            workspace_slots: self.inner.workspace_slots,
        };
        self.inner.writer.ask(verb).await.map(|taken| taken.claimed)
    }

    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
        self.inner.writer.ask(leases::Renew { owner, ttl_millis }).await
    }

    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError> {
        let verb = leases::Release {
            key,
            epoch,
            ready,
            only_at_head,
        };
        self.inner.writer.ask(verb).await
    }

    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError> {
        self.inner.writer.ask(leases::Unregister { owner }).await
    }

    async fn ready(&self) -> Result<ReadyCount, StoreError> {
        let now = self.inner.clock.now();
        self.read(move |pool| async move { leases::ready(&pool, now).await })
            .await
    }
}
