//! `perennial serve` = the API of a cluster, without workers and without hands of its own; machines dial in to it, and with a container
//! engine it makes sandboxes, which do so too.

use std::num::NonZeroU32;
use std::sync::Arc;

use clap::Args;
use perennial_router::Remote;
use tokio_util::sync::CancellationToken;

use super::banner;
use crate::args::{ClusterArgs, FrontArgs, KeepArgs, PoolArgs, SandboxArgs, TraceArgs};
use crate::config::Settings;
use crate::exit::Exit;
use crate::house::{self, Front, Keys, Sandboxes, Signals, Store, Traces, Workers, files};

/// Serve the API of a cluster; any number of them on any number of hosts.
///
/// Sessions live in the cluster's Postgres, and `perennial worker` processes drive them. The first of them
/// makes a key and leaves it in its data directory; clients elsewhere need it in PERENNIAL_KEY.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub front: FrontArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub pool: PoolArgs,
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Slots of each worker process that is kept here [default: 64] [env: PERENNIAL_SLOTS]
    #[arg(long, value_name = "N")]
    pub slots: Option<NonZeroU32>,
    #[command(flatten)]
    pub trace: TraceArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Make another key and leave it in the data directory, which has none that works
    #[arg(long)]
    pub new_key: bool,
}

/// Serves until it is told to stop (SIGINT, SIGTERM): then no new connections, streams are closed with a word to resume.
pub async fn run(args: ServeArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    files::data_dir(&settings.data_dir.value)?;
    let traces = Traces::begin(settings)?;
    let store = Store::of_cluster(settings, None).await?;
    // Machines dial in to this node or another one; calls to them leave from here.
    let exchange = house::exchange(settings);
    exchange.join(store.executors.clone());
    let tunnels = house::tunnels(&exchange, store.executors.clone());
    let router = Arc::new(Remote::new(store.bus.clone(), exchange.clone()));
    let keys = if args.new_key { Keys::Always } else { Keys::First };
    let gateway = house::gateway(settings, &store);
    let front = Front::build(settings, &store, router, gateway.clone(), tunnels.clone(), keys).await?;
    let sandboxes = Sandboxes::made_by(settings, &store, &exchange, &front, None).await?;
    front.announce()?;
    banner::serving(&front, settings);

    let closing = CancellationToken::new();
    front.tell(settings, closing.clone()).await?;
    let delivering = store.deliver(closing.clone());
    let telling = house::webhooks::tell(settings, &store, &closing);
    let scaling = house::keda::answer(settings, &store, closing.clone()).await?;
    let workers = Workers::keep(settings, &store, closing.clone())?;
    let serving = front.start(closing.clone());
    signals.stop().await;
    tracing::info!("stopping");
    serving.retract();
    closing.cancel();
    // Whoever dialled in here dials another node; what runs there goes on.
    tunnels.close();
    sandboxes.close().await;
    if let Some(workers) = workers {
        workers.ended().await;
    }
    if let Some(scaling) = scaling {
        scaling.await?;
    }
    serving.ended().await?;
    delivering.await?;
    telling.join_all().await;
    exchange.close().await;
    gateway.settled().await;
    store.close().await;
    traces.close().await;
    Ok(Exit::Done)
}
