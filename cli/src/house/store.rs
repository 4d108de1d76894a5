//! Where sessions and accounts are kept, and what carries hints about them: the embedded database of the data directory with
//! a bus of this process, or a cluster's Postgres with a NATS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_api::accounts::postgres::PostgresAccounts;
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_api::accounts::{Accounts, MailAgents};
use perennial_broker::Hinted;
use perennial_broker::blobs::files::Files;
use perennial_broker::clock::System;
use perennial_broker::executors;
use perennial_broker::log::postgres::{self, Guard, Postgres, Watch};
use perennial_broker::log::sqlite::{self, Sqlite};
use perennial_broker::mail;
use perennial_broker::mcp;
use perennial_broker::meter::{self, Meter, Told};
use perennial_broker::pool;
use perennial_broker::webhooks;
use perennial_broker::work;
use perennial_engine::ports::{
    Blobs, Bus, Clock, Executors, HouseTools, Leases, Log, Mailboxes, McpApprovals, Metering, NoSeals, Pool,
    SandboxHosts, Sandboxes, Seals, Sessions, Webhooks, WorkQueues,
};
use perennial_mailbox::{MailTools, Office, Postman};
use perennial_schema::{ExecutorId, OwnerId};
use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::bus::{self, BusKind, Shared};
use super::{SystemIds, seals};
use crate::config::{Database, Settings};
use crate::error::Error;

/// The store, told to a bus.
pub struct Store {
    /// Events.
    pub log: Arc<dyn Log>,
    /// Session rows.
    pub sessions: Arc<dyn Sessions>,
    /// Who holds what.
    pub leases: Arc<dyn Leases>,
    /// Large bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Keys, agents, environments.
    pub accounts: Arc<dyn Accounts>,
    /// Hints, previews, wake-ups.
    pub bus: Arc<dyn Bus>,
    /// The clock of this host.
    pub clock: Arc<dyn Clock>,
    /// Budgets, virtual keys, what model requests used.
    pub metering: Arc<dyn Metering>,
    /// Machines that dial in.
    pub executors: Arc<dyn Executors>,
    /// Machines that are made for sessions.
    pub sandboxes: Arc<dyn Sandboxes>,
    /// And who makes them.
    pub sandbox_hosts: Arc<dyn SandboxHosts>,
    /// Mail in and out.
    pub mail: Arc<Office>,
    /// Workers, and how much there is to do for them.
    pub pool: Arc<dyn Pool>,
    /// What workers of self-hosted environments are to serve.
    pub work: Arc<dyn WorkQueues>,
    /// Tools of MCP servers that were let in.
    pub mcp: Arc<dyn McpApprovals>,
    /// Who is told of what happens.
    pub webhooks: Arc<dyn Webhooks>,
    /// Tokens of resources.
    pub seals: Arc<dyn Seals>,
    /// Sweeps what nobody settled.
    tending: JoinHandle<()>,
    base: Base,
}

/// What is kept beside the sessions, wherever that is.
struct Kept<E> {
    blobs: Arc<dyn Blobs>,
    accounts: Arc<dyn Accounts>,
    executors: Arc<E>,
    mail: Arc<dyn Mailboxes>,
    pool: Arc<dyn Pool>,
    work: Arc<dyn WorkQueues>,
    mcp: Arc<dyn McpApprovals>,
    webhooks: Arc<dyn Webhooks>,
    seals: Arc<dyn Seals>,
}

/// How many sessions a workspace gets at once.
fn workspace_slots(settings: &Settings) -> Option<u32> {
    settings.pool.workspace_slots.as_ref().map(|slots| slots.value)
}

/// Who ends owners that were seen to die.
pub struct Burial {
    postgres: Postgres,
    pool: Arc<dyn Pool>,
    bus: Arc<dyn Bus>,
}

impl Burial {
    /// Ends one; how many sessions it held.
    pub async fn bury(&self, owner: OwnerId) -> Result<u64> {
        let freed = self.postgres.bury(owner).await?;
        self.pool.leave(owner).await?;
        if freed > 0 {
            self.bus.wake();
        }
        Ok(freed)
    }
}

/// What is beneath.
enum Base {
    Embedded(Sqlite),
    Cluster(Postgres, Shared, Guard),
}

impl Store {
    /// The cluster's store and bus. `place` is the executor whose workspaces this process reaches.
    pub async fn of_cluster(settings: &Settings, place: Option<ExecutorId>) -> Result<Self> {
        let database = settings.database.as_ref().ok_or_else(|| {
            Error::Usage(
                "a cluster needs a database: --database-url, PERENNIAL_DATABASE_URL or database.url_file \
                 (`perennial up` does without one)"
                    .to_owned(),
            )
        })?;
        Self::cluster(settings, database, place).await
    }

    /// The embedded database. Its lock keeps a second server out of the data directory.
    pub async fn embedded(settings: &Settings, bus: BusKind) -> Result<Self> {
        let data_dir = &settings.data_dir.value;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let opened = sqlite::Settings {
            clock: clock.clone(),
            workspace_slots: workspace_slots(settings),
        };
        let sqlite = Sqlite::open(data_dir, opened).await?;
        let blobs = Files::open(&data_dir.join("blobs")).context("cannot open the blobs folder")?;
        let accounts = SqliteAccounts::new(sqlite.pool_for_accounts());
        let base = Base::Embedded(sqlite.clone());
        let meter = Meter::sqlite(sqlite.clone());
        let kept = Kept {
            blobs: Arc::new(blobs),
            accounts: Arc::new(accounts),
            executors: Arc::new(executors::Sqlite::new(sqlite.clone())),
            mail: mail::embedded(sqlite.clone()),
            pool: pool::embedded(sqlite.clone()),
            work: work::embedded(sqlite.clone()),
            mcp: mcp::embedded(sqlite.clone()),
            webhooks: webhooks::embedded(sqlite.clone()),
            seals: seals::embedded(settings)?,
        };
        Ok(Self::join(settings, sqlite, bus.here(), meter, kept, base))
    }

    async fn cluster(settings: &Settings, database: &Database, place: Option<ExecutorId>) -> Result<Self> {
        let postgres = Postgres::open(
            database.url.value.expose_secret(),
            postgres::Settings {
                schema: database.schema.value.clone(),
                workspace_slots: workspace_slots(settings),
                ..postgres::Settings::default()
            },
        )
        .await?;
        let shared = bus::open(settings.nats.as_ref(), place, Arc::new(postgres.clone())).await?;
        let blobs = postgres.blobs();
        let accounts = PostgresAccounts::new(postgres.pool_for_accounts());
        let guard = postgres.guard(Duration::from_secs(database.idle_transaction_s.value));
        let base = Base::Cluster(postgres.clone(), shared.clone(), guard);
        let meter = Meter::postgres(&postgres);
        let kept = Kept {
            blobs: Arc::new(blobs),
            accounts: Arc::new(accounts),
            executors: Arc::new(executors::Postgres::new(&postgres)),
            mail: mail::shared(&postgres),
            pool: pool::shared(&postgres),
            work: work::shared(&postgres),
            mcp: mcp::shared(&postgres),
            webhooks: webhooks::shared(&postgres),
            seals: seals::given(settings)?.unwrap_or_else(|| Arc::new(NoSeals)),
        };
        Ok(Self::join(settings, postgres, shared.bus(), meter, kept, base))
    }

    fn join<L: Log + Sessions + Leases + 'static, E: Executors + Sandboxes + SandboxHosts + 'static>(
        settings: &Settings,
        store: L,
        bus: Arc<dyn Bus>,
        meter: Meter,
        kept: Kept<E>,
        base: Base,
    ) -> Self {
        let (accounts, executors) = (kept.accounts, kept.executors);
        let log = Arc::new(Hinted::new(store, bus.clone()));
        let clock: Arc<dyn Clock> = Arc::new(System);
        let told = Told::new(meter, bus.clone(), log.clone(), clock.clone(), Arc::new(SystemIds));
        let metering: Arc<dyn Metering> = Arc::new(told);
        let habits = meter::Habits {
            sweep: Duration::from_millis(settings.sweep_ms.value),
            keep: Duration::from_secs(u64::from(settings.traces_days.value) * 24 * 3600),
        };
        let agents = Arc::new(MailAgents(accounts.clone()));
        Self {
            mail: Arc::new(Office::new(
                kept.mail,
                log.clone(),
                log.clone(),
                agents,
                bus.clone(),
                metering.clone(),
            )),
            tending: tokio::spawn(meter::tend(metering.clone(), clock.clone(), habits)),
            metering,
            clock,
            log: log.clone(),
            sessions: log.clone(),
            leases: log,
            blobs: kept.blobs,
            accounts,
            sandboxes: executors.clone(),
            sandbox_hosts: executors.clone(),
            executors,
            seals: kept.seals,
            pool: kept.pool,
            work: kept.work,
            mcp: kept.mcp,
            webhooks: kept.webhooks,
            bus,
            base,
        }
    }

    /// Has neighbours notice this process's death, and notices theirs; on one, everybody with free slots is woken. Dropping the
    /// watch ends it. Nothing on an embedded database: its lock says it all.
    pub fn watch(&self, settings: &Settings, owner: OwnerId) -> Result<Option<Watch>> {
        let (Base::Cluster(postgres, ..), Some(database)) = (&self.base, &settings.database) else {
            return Ok(None);
        };
        let direct_url = database.direct_url.as_ref().map(|url| url.value.expose_secret());
        let bus = self.bus.clone();
        let watch = postgres.watch(direct_url, owner, Arc::new(move || bus.wake()))?;
        Ok(Some(watch))
    }

    /// Ends an owner of this database that was seen to die, and frees what it held: nobody has to wait for its lease to expire.
    pub fn burial(&self) -> Option<Burial> {
        match &self.base {
            Base::Embedded(_) => None,
            Base::Cluster(postgres, ..) => Some(Burial {
                postgres: postgres.clone(),
                pool: self.pool.clone(),
                bus: self.bus.clone(),
            }),
        }
    }

    /// The tools that sessions have of this store: mail.
    pub fn tools(&self) -> Arc<dyn HouseTools> {
        Arc::new(MailTools(self.mail.clone()))
    }

    /// Hands mail over until `closing` is cancelled.
    pub fn deliver(&self, closing: CancellationToken) -> JoinHandle<()> {
        let postman = Postman::new(self.mail.clone(), self.log.clone(), self.clock.clone());
        tokio::spawn(postman.run(closing))
    }

    /// Finishes what was asked for and closes.
    pub async fn close(self) {
        self.tending.abort();
        if let Err(error) = self.metering.flush().await {
            warn!(%error, "traces of the last model requests are lost");
        }
        match self.base {
            Base::Embedded(sqlite) => sqlite.shutdown().await,
            Base::Cluster(postgres, shared, _guard) => {
                shared.close().await;
                postgres.shutdown().await;
            }
        }
    }
}
