//! Where tool calls go: an executor in this process, or the one of the data directory beside it. Both speak the same frames,
//! here over a channel, there over a unix socket. And machines that dialled in, to this process or another one of the cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_engine::ports::{Bus, Executors, Router};
use perennial_executor::{Executor, socket};
use perennial_router::socket::{Line, Starter};
use perennial_router::{Exchange, Tunnels, relay};
use perennial_schema::{ExecutorId, OwnerId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Settings;

/// Frames in flight between router and executor, each way.
const FRAMES: usize = 256;
/// Longest an executor beside us may take to start and answer.
const REACH: Duration = Duration::from_secs(30);
/// What an executor process inherits from the worker that starts it: nothing that is secret.
const INHERITED: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "PERENNIAL_LOG",
    "PERENNIAL_LOG_JSON",
    "PERENNIAL_KILL_AT",
    "PERENNIAL_STALL_AT",
    "PERENNIAL_SABOTAGE",
];

/// A router and the executor it reaches.
pub struct Hands {
    exchange: Arc<Exchange>,
    place: ExecutorId,
    uncontained_reason: Option<String>,
    stop: CancellationToken,
    executor: At,
    relay: Option<JoinHandle<()>>,
}

/// Where the executor is.
enum At {
    Here(Arc<Executor>, JoinHandle<()>),
    Beside(Line),
}

impl Hands {
    /// Opens the executor of the data directory in this process.
    pub async fn here(settings: &Settings) -> Result<Self> {
        let executor = Arc::new(Executor::open(config(settings)).await?);
        let exchange = exchange(settings);
        let stop = CancellationToken::new();
        let (to_executor, at_executor) = mpsc::channel(FRAMES);
        let (from_executor, at_router) = mpsc::channel(FRAMES);
        let link = {
            let (executor, stop) = (executor.clone(), stop.clone());
            tokio::spawn(async move { executor.serve(at_executor, from_executor, stop).await })
        };
        let (lanes, mut openings) = perennial_router::socket::home_lanes();
        let streaming = executor.clone();
        // Ends with the link, which holds the other half.
        tokio::spawn(async move {
            while let Some(wanted) = openings.next().await {
                wanted.answer(streaming.open_stream());
            }
        });
        exchange
            .attach_with(to_executor, at_router, Some(lanes))
            .await
            .context("the executor of this process did not attach")?;
        Ok(Self {
            exchange,
            place: executor.executor_id(),
            uncontained_reason: executor.uncontained_reason().map(str::to_owned),
            stop,
            executor: At::Here(executor, link),
            relay: None,
        })
    }

    /// Reaches the executor process of the data directory; starts it when there is none.
    pub async fn beside(settings: &Settings) -> Result<Self> {
        let data_dir = &settings.data_dir.value;
        let exchange = exchange(settings);
        let stop = CancellationToken::new();
        let starter = starter(settings).context("cannot tell which program this is")?;
        let line = Line::keep(exchange.clone(), socket::path(data_dir), Some(starter), stop.clone());
        let place = tokio::time::timeout(REACH, line.executor_id()).await.ok().flatten();
        let place = place.with_context(|| {
            format!(
                "no executor answers at {}: see {}",
                socket::path(data_dir).display(),
                executor_log(settings).display()
            )
        })?;
        Ok(Self {
            exchange,
            place,
            uncontained_reason: None,
            stop,
            executor: At::Beside(line),
            relay: None,
        })
    }

    /// Answers what other processes ask of the executor over the bus.
    pub fn answer(&mut self, bus: Arc<dyn Bus>) {
        let desk = ExecutorId::from_uuid(uuid::Uuid::now_v7());
        let answering = relay(self.router(), bus, self.place, desk, self.stop.clone());
        self.relay = Some(tokio::spawn(answering));
    }

    /// Reaches machines that dialled in to other processes of the cluster, too.
    pub fn join(&self, registry: Arc<dyn Executors>) {
        self.exchange.join(registry);
    }

    /// What links there are.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The router.
    pub fn router(&self) -> Arc<dyn Router> {
        self.exchange.clone()
    }

    /// Whose workspaces are in reach.
    pub const fn place(&self) -> ExecutorId {
        self.place
    }

    /// Why tools are not contained, if they are not.
    pub fn uncontained_reason(&self) -> Option<&str> {
        self.uncontained_reason.as_deref()
    }

    /// Lets go. An executor of this process stops calls that still run, and its journal says so: a known end is better than a
    /// doubt. One beside it goes on.
    pub async fn close(self) {
        if let At::Here(executor, _) = &self.executor {
            executor.close().await;
        }
        self.stop.cancel();
        self.exchange.close().await;
        match self.executor {
            At::Here(_, link) => ended(link.await),
            At::Beside(line) => line.closed().await,
        }
        if let Some(relay) = self.relay {
            ended(relay.await);
        }
    }
}

/// Where machines dial in; their hands are reached through the exchange.
pub fn tunnels(exchange: &Arc<Exchange>, registry: Arc<dyn Executors>) -> Arc<Tunnels> {
    let node = OwnerId::from_uuid(uuid::Uuid::now_v7());
    let tunnels = Arc::new(Tunnels::new(exchange.clone(), registry, node));
    let tending = tunnels.clone();
    // Ends when the tunnels are closed.
    tokio::spawn(async move { tending.tend().await });
    tunnels
}

/// What the executor of the data directory is opened with.
pub fn config(settings: &Settings) -> perennial_executor::Config {
    let mut config = perennial_executor::Config::new(&settings.data_dir.value);
    config.limits.servers = perennial_executor::limits::SERVERS_OF_HOST;
    config
}

fn ended(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "a task of the executor's line ended abnormally");
    }
}

/// One with nobody on the line.
pub fn exchange(settings: &Settings) -> Arc<Exchange> {
    Arc::new(Exchange::new(router_settings(settings)))
}

/// What whoever starts the router decides.
fn router_settings(settings: &Settings) -> perennial_router::Settings {
    perennial_router::Settings {
        allow_local: settings.allow_local.value,
        guard: super::egress::guard(),
        ..Default::default()
    }
}

fn executor_log(settings: &Settings) -> std::path::PathBuf {
    settings.data_dir.value.join("executor.log")
}

fn starter(settings: &Settings) -> std::io::Result<Starter> {
    let data_dir = settings.data_dir.value.as_os_str().to_owned();
    let args = ["executor".into(), "--data-dir".into(), data_dir];
    let starter = Starter::new(std::env::current_exe()?, args, executor_log(settings));
    let known = INHERITED
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    Ok(known.fold(starter, |starter, (name, value)| starter.env(name, value)))
}
