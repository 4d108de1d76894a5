//! The parts and how they are joined. Router and executor meet over an in-memory channel that carries the same frames a tunnel
//! will; api and worker meet only in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_api::accounts::{Accounts, Secret};
use perennial_api::{Api, Config, Hosts, Limits};
use perennial_broker::Hinted;
use perennial_broker::blobs::files::Files;
use perennial_broker::bus::{local::Local, silent::Silent};
use perennial_broker::clock::System;
use perennial_broker::log::sqlite::{self, Sqlite};
use perennial_engine::ports::{Blobs, Bus, Clock, Ids, Router};
use perennial_executor::Executor;
use perennial_router::Exchange;
use perennial_worker::harness::{Installed, claude_code};
use perennial_worker::model::{ModelSettings, Models, Provider};
use perennial_worker::{Ports, Worker};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{BusKind, UpArgs, files};
use crate::config::{self, Settings};

/// Frames in flight between router and executor, each way.
const FRAMES: usize = 256;

/// A server that is ready to run.
pub(super) struct House {
    /// Where it listens.
    pub(super) url: String,
    /// A key that was made just now.
    pub(super) fresh_key: Option<Secret>,
    /// Why tools are not contained, if they are not.
    pub(super) uncontained_reason: Option<String>,
    data_dir: std::path::PathBuf,
    listener: TcpListener,
    store: Sqlite,
    executor: Arc<Executor>,
    hands: JoinHandle<()>,
    exchange: Arc<Exchange>,
    worker: Worker,
    api: Api,
    stop: CancellationToken,
}

/// Ids of this process.
struct SystemIds;

impl Ids for SystemIds {
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

impl House {
    /// Opens and joins everything; nothing is served yet.
    pub(super) async fn build(args: &UpArgs, settings: &Settings) -> Result<Self> {
        let data_dir = settings.data_dir.value.clone();
        files::data_dir(&data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let bus: Arc<dyn Bus> = match args.bus {
            BusKind::Local => Arc::new(Local::new()),
            BusKind::Silent => Arc::new(Silent),
        };
        // First of all: its lock keeps a second server out.
        let store = Sqlite::open(&data_dir, sqlite::Settings { clock: clock.clone() }).await?;
        files::fresh_harness_dir(&data_dir)?;
        let log = Arc::new(Hinted::new(store.clone(), bus.clone()));
        let blobs: Arc<dyn Blobs> =
            Arc::new(Files::open(&data_dir.join("blobs")).context("cannot open the blobs folder")?);
        let accounts: Arc<dyn Accounts> = Arc::new(SqliteAccounts::new(store.pool_for_accounts()));
        let fresh_key = ensure_key(&data_dir, accounts.as_ref(), clock.as_ref()).await?;

        let executor = Arc::new(Executor::open(perennial_executor::Config::new(&data_dir)).await?);
        let exchange = Arc::new(Exchange::new(perennial_router::Settings {
            allow_local: settings.allow_local.value,
            ..Default::default()
        }));
        let stop = CancellationToken::new();
        let hands = join(&executor, &exchange, stop.clone()).await?;
        let router: Arc<dyn Router> = exchange.clone();

        let worker = Worker::new(
            Ports {
                log: log.clone(),
                leases: log.clone(),
                bus: bus.clone(),
                router: router.clone(),
                blobs: blobs.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                harnesses: Arc::new(harnesses(settings, clock.clone())),
            },
            perennial_worker::Settings {
                slots: settings.slots.value,
                ttl: Duration::from_millis(settings.lease_ttl_ms.value),
                renew: Duration::from_millis(settings.renew_ms.value),
                sweep: Duration::from_millis(settings.sweep_ms.value),
                place: Some(executor.executor_id()),
            },
        );
        let ports = perennial_api::Ports {
            log: log.clone(),
            sessions: log.clone(),
            leases: log,
            bus,
            blobs,
            router,
            clock,
            ids,
            accounts,
        };
        let listener = listen(settings).await?;
        let address = listener.local_addr()?;
        let api = Api::new(
            ports,
            Config {
                // Loopback names only where only loopback can reach us; elsewhere names are the operator's business.
                hosts: if address.ip().is_loopback() {
                    Hosts::Loopback
                } else {
                    Hosts::Any
                },
                limits: Limits::default(),
                metrics: perennial_api::prometheus(),
                default_model: settings.model().to_owned(),
            },
        );
        Ok(Self {
            url: format!("http://{address}"),
            fresh_key,
            uncontained_reason: executor.uncontained_reason().map(str::to_owned),
            data_dir,
            listener,
            store,
            executor,
            hands,
            exchange,
            worker,
            api,
            stop,
        })
    }

    /// Leaves the address where clients of this machine find it. Connections are taken from now on, and served by `run`.
    pub(super) fn announce(&self) -> Result<()> {
        files::write_server(&self.data_dir, &self.url)
    }

    /// Serves until told to stop, then winds down.
    pub(super) async fn run(self, told_to_stop: impl Future<Output = ()>) -> Result<()> {
        let closing = CancellationToken::new();
        let worker = tokio::spawn(self.worker.run(closing.clone()));
        let serving = tokio::spawn(perennial_api::serve(
            self.listener,
            self.api.router(),
            Limits::default(),
            closing.clone(),
        ));
        told_to_stop.await;
        tracing::info!("stopping");
        files::remove_server(&self.data_dir);
        closing.cancel();
        if let Err(error) = worker.await {
            warn!(%error, "the worker ended abnormally");
        }
        serving.await.context("the listener ended abnormally")??;
        self.api.drained().await;
        // Calls that still run are stopped, and their journal says so: a known end is better than a doubt.
        self.executor.close().await;
        self.stop.cancel();
        self.exchange.close().await;
        if let Err(error) = self.hands.await {
            warn!(%error, "the executor's link ended abnormally");
        }
        self.store.shutdown().await;
        Ok(())
    }
}

async fn ensure_key(data_dir: &Path, accounts: &dyn Accounts, clock: &dyn Clock) -> Result<Option<Secret>> {
    let known = files::read_key(data_dir)?;
    let ensured = accounts.ensure_workspace_and_key(known.as_ref(), clock.now()).await?;
    if let Some(key) = &ensured.fresh {
        files::write_key(data_dir, key)?;
    }
    Ok(ensured.fresh)
}

async fn join(executor: &Arc<Executor>, exchange: &Exchange, stop: CancellationToken) -> Result<JoinHandle<()>> {
    let (to_executor, at_executor) = mpsc::channel(FRAMES);
    let (from_executor, at_router) = mpsc::channel(FRAMES);
    let hands = {
        let executor = executor.clone();
        tokio::spawn(async move { executor.serve(at_executor, from_executor, stop).await })
    };
    exchange
        .attach(to_executor, at_router)
        .await
        .context("the executor of this process did not attach")?;
    Ok(hands)
}

fn harnesses(settings: &Settings, clock: Arc<dyn Clock>) -> Installed {
    let models = Models::new(&ModelSettings {
        anthropic: provider(&settings.anthropic),
        openai: provider(&settings.openai),
        ..Default::default()
    });
    Installed {
        models: Arc::new(models),
        claude_code: claude_code(settings, clock),
    }
}

fn provider(provider: &config::Provider) -> Option<Provider> {
    let key = provider.key.as_ref()?.value.clone();
    Some(Provider {
        base_url: provider.base_url.value.clone(),
        key,
    })
}

fn claude_code(settings: &Settings, clock: Arc<dyn Clock>) -> claude_code::Settings {
    let mut claude = claude_code::Settings::new(clock);
    claude.binary.clone_from(&settings.claude.value);
    claude.base_url.clone_from(&settings.anthropic.base_url.value);
    // Homes of processes that a SIGKILL left behind are swept at the next start.
    claude.scratch = Some(files::harness_dir(&settings.data_dir.value));
    claude.api_key = settings.anthropic.key.as_ref().map(|key| key.value.clone());
    claude
}

async fn listen(settings: &Settings) -> Result<TcpListener> {
    let address = settings.listen.value;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another address with --listen"))
}
