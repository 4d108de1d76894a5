//! The shared log: Postgres (15 or newer), for any number of processes.
//!
//! * `attempt` gets one job done by `append`, `create` or `row`: look, one autocommitted statement, and when in doubt look
//!   again. The rules (`log::rules`) judge the row a writer saw; `shift` and `write` make the statement that applies what
//!   they say only where the row still has that revision.
//! * `lane` is a writer: a caller that finds it free goes straight to its connection, what waits travels as one `batch`. It
//!   remembers the rows it wrote and those that claims and reads saw (`link`), so that most appends need no look.
//! * `claim`, `leases` and `death` are single statements, too, by the database's clock (`clock`); `watch` notices a death
//!   in milliseconds.
//! * `read` and `find` only read. `ask` runs every question over a pool in a task of its own.
//! * `guard` ends what others leave open on the same database.
//! * `connect` and `migrate` refuse a server or a schema that cannot be trusted with a log.
//!
//! **Architecture invariant:** no transaction is ever open between two statements, and nothing a caller can drop holds a
//! pooled connection.

mod append;
mod ask;
mod attempt;
mod batch;
mod claim;
mod clock;
mod connect;
mod create;
mod death;
mod failure;
mod find;
mod guard;
mod heads;
mod lane;
mod leases;
mod link;
mod look;
mod migrate;
mod open;
mod prune;
mod read;
mod row;
mod rows;
mod script;
mod shift;
mod site;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{
    Append, AppendError, Appended, ChangeCursor, Claimed, EventFilter, ForkFrom, Held, Leases, Log, NewSession, Past,
    Reach, ReadFrom, Ready, ReadyCount, RenewError, SessionFilter, SessionKey, SessionRow, Sessions, StoreError,
};
use perennial_schema::event::Record;
use perennial_schema::{EventId, OwnerId, WorkspaceId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Row as _};

pub(crate) use ask::Desk;
use attempt::{Done, Job};
pub(crate) use clock::Time;
pub use guard::{Guard, LeftOpen};
use lane::Lane;
pub use migrate::{drop_schema, migrate};
pub use open::{OpenError, Settings};
pub(crate) use script::Script;
use site::Site;
pub use watch::Watch;

/// The shared store. Cheap to clone; all clones share writers and pools.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    site: Arc<Site>,
    /// How to reach the database as the role of its URL.
    plain: PgConnectOptions,
    lanes: Vec<Arc<Lane>>,
    /// Single sessions and whole logs, for turns and streams.
    logs: Desk,
    /// Everything else clients ask for.
    clients: Desk,
    /// Claims.
    claims: Desk,
    /// Renewals: nothing else, so that no crowd can cost a lease (I3).
    heartbeat: Desk,
    accounts: PgPool,
    /// Budgets, keys and traces: a crowd that waits for one budget's row keeps nobody else waiting.
    meter: Desk,
}

impl Postgres {
    /// A small pool on the same database and schema for the accounts' tables.
    #[must_use]
    pub fn pool_for_accounts(&self) -> PgPool {
        self.inner.accounts.clone()
    }

    /// For the tables of the meter, and the clock that counts there.
    pub(crate) fn meter(&self) -> (Desk, Time) {
        (self.inner.meter.clone(), self.inner.site.time.clone())
    }

    /// How many sessions a workspace gets at once.
    pub(crate) fn workspace_slots(&self) -> Option<u32> {
        self.inner.site.workspace_slots
    }

    /// The blobs' table.
    #[must_use]
    pub fn blobs(&self) -> crate::blobs::postgres::Postgres {
        crate::blobs::postgres::Postgres::new(self.inner.clients.clone())
    }

    /// How many commits whose answer was lost were found to have happened, since the start.
    #[must_use]
    pub fn resolved_ambiguous(&self) -> u64 {
        self.inner.site.resolved_ambiguous()
    }

    /// Ends an owner that the caller has seen die, and frees what it held; answers how many sessions that were. Each counts one
    /// attempt. For a supervisor that has reaped its child.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn bury(&self, owner: OwnerId) -> Result<u64, StoreError> {
        let time = self.inner.site.time.clone();
        let rows = self.inner.claims.ask(move || death::bury(&time, owner, None)).await?;
        let sessions: Option<i64> = rows.first().and_then(|row| row.try_get("sessions").ok());
        Ok(sessions.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Has others notice at once when this process dies, and this process when its neighbour does: then `freed` is called,
    /// and there may be something to claim. The owner must be registered. `direct_url` is the same database without a pooler
    /// in between; without one, the store's own address.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn watch(
        &self,
        direct_url: Option<&str>,
        owner: OwnerId,
        freed: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Watch, OpenError> {
        let options = match direct_url {
            Some(url) => connect::like(&self.inner.site.options, url)?,
            None => self.inner.site.options.clone(),
        };
        Ok(Watch::start(Arc::clone(&self.inner.site), options, owner, freed))
    }

    /// Ends transactions of others on this database that have been idle for so long; until it is dropped.
    #[must_use]
    pub fn guard(&self, limit: Duration) -> Guard {
        Guard::start(self.inner.plain.clone(), limit)
    }

    /// Transactions of others on this database that have been idle for so long, as far as the role of the URL sees them.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn left_open(&self, limit: Duration) -> Result<Vec<LeftOpen>, OpenError> {
        let mut db = connect::one(&self.inner.plain).await?;
        let left = guard::left_open(&mut db, limit).await?;
        connect::end(db).await;
        Ok(left)
    }

    /// Refuses what comes from now on and ends the connections. Later calls answer `Unavailable`.
    pub async fn shutdown(&self) {
        for lane in &self.inner.lanes {
            lane.close();
        }
        self.inner.accounts.close().await;
        for desk in [
            &self.inner.logs,
            &self.inner.clients,
            &self.inner.claims,
            &self.inner.heartbeat,
            &self.inner.meter,
        ] {
            desk.pool.close().await;
        }
    }

    /// Each session belongs to one of this process' writers.
    fn lane(&self, key: SessionKey) -> Option<&Arc<Lane>> {
        let lanes = &self.inner.lanes;
        let (_, last) = key.session.uuid().as_u64_pair();
        let index = usize::try_from(last % lanes.len().max(1) as u64).unwrap_or(0);
        lanes.get(index)
    }

    async fn ask(&self, job: Job) -> Result<Done, AppendError> {
        match self.lane(job.key()) {
            Some(lane) => lane.ask(job).await,
            None => Err(failure::unavailable("no writer").into()),
        }
    }

    async fn appended(&self, job: Job) -> Result<Appended, AppendError> {
        match self.ask(job).await? {
            Done::Appended(appended) => Ok(appended),
            Done::Row(_) => Err(failure::unavailable("the writer answered something else").into()),
        }
    }

    async fn changed(&self, job: Job) -> Result<bool, StoreError> {
        match self.ask(job).await {
            Ok(Done::Row(changed)) => Ok(changed),
            Ok(Done::Appended(_)) => Err(failure::unavailable("the writer answered something else")),
            Err(AppendError::Store(error)) => Err(error),
            Err(refusal) => Err(failure::unavailable(refusal.to_string())),
        }
    }
}

#[async_trait]
impl Log for Postgres {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.appended(Job::Append(Box::new(append))).await
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        read::tail(&self.inner.logs, key, from).await
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        read::one(&self.inner.logs, key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        read::list(&self.inner.clients, key, filter).await
    }
}

#[async_trait]
impl Sessions for Postgres {
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError> {
        let past = Vec::new();
        let create = create::Create { new, fork, past };
        self.appended(Job::Create(Box::new(create))).await
    }

    async fn import(&self, new: NewSession, past: Vec<Past>) -> Result<Appended, AppendError> {
        let fork = None;
        let create = create::Create { new, fork, past };
        self.appended(Job::Create(Box::new(create))).await
    }

    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let Some((row, known)) = find::one(&self.inner.logs, key).await? else {
            return Ok(None);
        };
        if let Some(lane) = self.lane(key) {
            lane.saw(key, known);
        }
        Ok(Some(row))
    }

    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        find::many(&self.inner.clients, workspace, filter).await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        find::changed(&self.inner.clients, workspace, after, limit).await
    }
}

#[async_trait]
impl Leases for Postgres {
    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError> {
        leases::register(&self.inner.heartbeat, owner, ttl_millis, reach).await
    }

    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError> {
        let pass_by = pass_by.iter().map(|key| key.session.uuid()).collect();
        // A task of its own: dropped half-way, nobody would know what was claimed.
        let taken = tokio::spawn(claim::claim(self.inner.claims.clone(), owner, limit, pass_by)).await;
        let taken = taken.unwrap_or_else(|error| Err(failure::unavailable(format!("a claim failed: {error}"))))?;
        for (key, known) in taken.known {
            if let Some(lane) = self.lane(key) {
                lane.claimed(key, known);
            }
        }
        Ok(taken.claimed)
    }

    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
        leases::renew(&self.inner.heartbeat, owner, ttl_millis).await
    }

    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError> {
        let job = Job::Release {
            key,
            epoch,
            ready,
            only_at_head,
        };
        self.changed(job).await.map(|_| ())
    }

    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError> {
        leases::unregister(&self.inner.claims, owner).await
    }

    async fn ready(&self) -> Result<ReadyCount, StoreError> {
        leases::ready(&self.inner.claims).await
    }
}
