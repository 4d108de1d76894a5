//! `perennial up` = API + worker + executor in one process, on the embedded database of the data directory or on a cluster's.

use std::sync::Arc;

use clap::Args;
use perennial_engine::ports::Router;
use perennial_router::Remote;
use tokio_util::sync::CancellationToken;

use super::banner;
use crate::args::{ClusterArgs, FrontArgs, KeepArgs, PoolArgs, SandboxArgs, TraceArgs, WorkArgs};
use crate::config::Settings;
use crate::exit::Exit;
use crate::house::{
    self, Access, Brains, BusKind, Front, Hands, Keys, Sandboxes, Signals, Store, Traces, Workers, files,
};

/// Start the server: API, worker and executor in one process on an embedded database.
///
/// Listens on the loopback interface and stores everything in the data directory. The address and the key are left there
/// for the other verbs. With --database-url it is one node of a cluster instead.
#[derive(Debug, Default, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub front: FrontArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub pool: PoolArgs,
    #[command(flatten)]
    pub keep: KeepArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What carries hints and previews between the parts; `silent` loses every one of them (for tests)
    #[arg(long, value_name = "BUS", hide = true, default_value = "local")]
    pub bus: BusKind,
}

/// Runs the server until it is told to stop (SIGINT, SIGTERM), then lets go of everything in order: no new connections and
/// no new claims; sessions are given back while calls stay in their journal; then the store.
pub async fn run(args: UpArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    Workers::check(settings)?;
    files::data_dir(&settings.data_dir.value)?;
    let kept = settings.pool.kept.is_some();
    let traces = Traces::begin(settings)?;
    let (store, hands) = match &settings.database {
        // The store first: its lock keeps a second server out of the data directory.
        None => (Store::embedded(settings, args.bus).await?, Hands::here(settings).await?),
        Some(_) => {
            // Worker processes share the executor of this host's data directory.
            let mut hands = if kept {
                Hands::beside(settings).await?
            } else {
                Hands::here(settings).await?
            };
            let store = Store::of_cluster(settings, Some(hands.place())).await?;
            hands.answer(store.bus.clone());
            hands.join(store.executors.clone());
            (store, hands)
        }
    };
    let (router, keys) = match &settings.database {
        None => (hands.router(), Keys::Always),
        // A session's workspace may be on another host; our own is asked over the bus like any other.
        Some(_) => {
            let remote: Arc<dyn Router> = Arc::new(Remote::new(store.bus.clone(), hands.exchange().clone()));
            (remote, Keys::First)
        }
    };
    let gateway = house::gateway(settings, &store);
    let tunnels = house::tunnels(hands.exchange(), store.executors.clone());
    let front = Front::build(settings, &store, router, gateway.clone(), tunnels.clone(), keys).await?;
    let sandboxes = match (&settings.sandbox, &settings.database) {
        // Environments of type `cloud` are folders of this host.
        (None, None) => None,
        _ => Some(Sandboxes::made_by(settings, &store, hands.exchange(), &front, Some(hands.place())).await?),
    };
    let models = Access::new(settings, &store, gateway, &front.models);
    hands.exchange().furnish(store.tools());
    hands.exchange().mount(store.mcp.clone(), store.seals.clone());
    let brains = if kept {
        None
    } else {
        Some(Brains::new(settings, &store, hands.router(), hands.place(), &models)?)
    };
    let watch = match &brains {
        Some(brains) => store.watch(settings, brains.owner())?,
        None => None,
    };
    // The address is in the data directory before anybody can read it from stdout.
    front.announce()?;
    banner::print(&front, &hands, settings);

    let closing = CancellationToken::new();
    front.tell(settings, closing.clone()).await?;
    let thinking = brains.map(|brains| brains.start(closing.clone()));
    let scaling = house::keda::answer(settings, &store, closing.clone()).await?;
    let workers = Workers::keep(settings, &store, closing.clone())?;
    let delivering = store.deliver(closing.clone());
    let telling = house::webhooks::tell(settings, &store, &closing);
    let serving = front.start(closing.clone());
    signals.stop().await;
    tracing::info!("stopping");
    serving.retract();
    closing.cancel();
    // Calls on machines that dialled in go on there, and are asked about by whoever drives their sessions next.
    tunnels.close();
    if let Some(thinking) = thinking {
        thinking.ended().await;
    }
    if let Some(workers) = workers {
        workers.ended().await;
    }
    if let Some(scaling) = scaling {
        scaling.await?;
    }
    drop(watch);
    if let Some(sandboxes) = sandboxes {
        sandboxes.close().await;
    }
    serving.ended().await?;
    delivering.await?;
    telling.join_all().await;
    models.settled().await;
    hands.close().await;
    store.close().await;
    traces.close().await;
    Ok(Exit::Done)
}
