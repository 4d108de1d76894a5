//! Death watch. Each owner process holds an advisory lock on a connection of its own: when the process dies, the server gives
//! the lock up within milliseconds. A neighbour waits for it, and on getting it frees what the dead one held.
//!
//! The verdict may be wrong (the connection died, not the process): epochs keep that safe, and it costs one attempt. It is
//! not given at all when the database restarted (a lock is worth what the server that granted it remembers), nor for one time
//! to live after this process lost a connection itself. Time to live finds whoever is missed.

use std::sync::Arc;
use std::time::Duration;

use perennial_schema::OwnerId;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, PgConnection, Row as _};
use tokio::task::JoinHandle;

use super::script::Script;
use super::site::Site;
use super::{death, failure};
use crate::limits;

/// How long the wait for a neighbour's lock lasts before it is begun again: a longer one would keep vacuum from its work and
/// overlook new neighbours, each end is a line in the server's log.
const WAIT: &str = "3s";
/// How often an owner looks whether its own lock still stands.
const LOOK: Duration = Duration::from_millis(500);
/// How long to pause when there is nobody to watch, or no verdict may be given.
const PAUSE: Duration = Duration::from_millis(200);

/// A running watch; dropping it ends it, and gives the lock up.
#[derive(Debug)]
pub struct Watch {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Watch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Watch {
    pub(super) fn start(
        site: Arc<Site>,
        options: PgConnectOptions,
        owner: OwnerId,
        freed: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let life = live(options.clone(), owner);
        let watch = Watcher {
            site,
            options: options.options([("lock_timeout", WAIT)]),
            owner,
            freed,
        };
        Self {
            tasks: [tokio::spawn(life), tokio::spawn(watch.run())],
        }
    }
}

/// One statement on a connection that is nobody else's; bounded, so that a silent server is noticed.
async fn ask(db: &mut PgConnection, script: Script) -> Result<Vec<PgRow>, sqlx::Error> {
    let answer = tokio::time::timeout(limits::STATEMENT_WAIT, script.rows(db)).await;
    answer.unwrap_or_else(|_| Err(failure::silent()))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    // Waiting is what its statements are for: no word about slow ones.
    let options = options.clone().disable_statement_logging();
    let made = tokio::time::timeout(limits::CONNECT_WAIT, options.connect()).await;
    made.unwrap_or_else(|_| Err(failure::silent()))
}

/// Holds a lock for as long as this process lives, a new one on each new connection.
async fn live(options: PgConnectOptions, owner: OwnerId) {
    loop {
        if let Err(error) = hold(&options, owner).await {
            tracing::debug!(%error, "the proof of life is renewed");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hold(options: &PgConnectOptions, owner: OwnerId) -> Result<(), sqlx::Error> {
    let mut db = connect(options).await?;
    let key: i64 = rand::random();
    let mut lock = Script::new("SELECT pg_advisory_lock(");
    lock.bind(key).sql(")");
    ask(&mut db, lock).await?;
    loop {
        // Again and again: the row may have been made anew since.
        let mut tell = Script::new("UPDATE owners SET lock_boot = pg_postmaster_start_time(), lock_key = ");
        tell.bind(key)
            .sql(" WHERE owner = ")
            .bind(owner.uuid())
            .sql(" AND lock_key IS DISTINCT FROM ")
            .bind(key);
        ask(&mut db, tell).await?;
        tokio::time::sleep(LOOK).await;
    }
}

struct Watcher {
    site: Arc<Site>,
    options: PgConnectOptions,
    owner: OwnerId,
    freed: Arc<dyn Fn() + Send + Sync>,
}

/// Whose lock is waited for.
struct Neighbour {
    owner: OwnerId,
    key: i64,
}

impl Watcher {
    async fn run(self) {
        loop {
            let ended = match connect(&self.options).await {
                Ok(db) => self.watch(db).await,
                Err(error) => error,
            };
            tracing::debug!(error = %ended, "the watch begins again");
            // Whoever loses connections cannot tell a dead neighbour from a broken network.
            self.site.failed();
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Watches until the connection breaks.
    async fn watch(&self, mut db: PgConnection) -> sqlx::Error {
        loop {
            if let Err(error) = self.once(&mut db).await {
                // Nobody died within the wait; or the lock's holder is waiting for us, and the server chose this side.
                if failure::kind(&error) != failure::Kind::Again {
                    return error;
                }
            }
        }
    }

    async fn once(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(neighbour) = self.neighbour(db).await? else {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        };
        let mut wait = Script::new("SELECT pg_advisory_lock(");
        wait.bind(neighbour.key).sql(")");
        ask(db, wait).await?;
        let verdict = self.verdict(db, &neighbour).await;
        let mut unlock = Script::new("SELECT pg_advisory_unlock(");
        unlock.bind(neighbour.key).sql(")");
        ask(db, unlock).await?;
        match verdict? {
            Some(sessions) => {
                tracing::info!(owner = %neighbour.owner, sessions, "a worker died: what it held is free");
                (self.freed)();
            }
            None => tokio::time::sleep(PAUSE).await,
        }
        Ok(())
    }

    /// The next owner in the ring whose lock this server knows.
    async fn neighbour(&self, db: &mut PgConnection) -> Result<Option<Neighbour>, sqlx::Error> {
        let mut script = Script::new(
            "SELECT owner, lock_key FROM owners WHERE lock_key IS NOT NULL AND lock_boot = pg_postmaster_start_time()
                AND owner <> ",
        );
        script
            .bind(self.owner.uuid())
            .sql(" ORDER BY owner < ")
            .bind(self.owner.uuid())
            .sql(", owner LIMIT 1");
        let rows = ask(db, script).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Neighbour {
            owner: OwnerId::from_uuid(row.try_get("owner")?),
            key: row.try_get("lock_key")?,
        }))
    }

    /// Frees what the neighbour held, if its row still says what it said: how many sessions that were.
    async fn verdict(&self, db: &mut PgConnection, dead: &Neighbour) -> Result<Option<i64>, sqlx::Error> {
        if !self.site.may_judge() {
            return Ok(None);
        }
        let script = death::bury(&self.site.time, dead.owner, Some(dead.key));
        let rows = ask(db, script).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let owners: i64 = row.try_get("owners")?;
        let sessions: i64 = row.try_get("sessions")?;
        self.site.sight.freed();
        Ok((owners > 0).then_some(sessions))
    }
}
