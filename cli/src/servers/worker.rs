//! `perennial worker` = the brains of a cluster: claims sessions and drives them. Its hands are the executor of its data
//! directory, a process of its own that outlives it.

use clap::Args;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::banner;
use crate::args::{ClusterArgs, PoolArgs, TraceArgs, WorkArgs};
use crate::config::Settings;
use crate::exit::Exit;
use crate::house::{self, Access, Brains, Hands, Metrics, Port, Sandboxes, Signals, Store, Traces, files};

/// Drive sessions of a cluster; any number of them on any number of hosts.
///
/// Tools run in the executor of the data directory, which is started when none serves it and goes on when this worker ends.
/// Sessions whose workspace is on another host are left to the workers of that host.
#[derive(Debug, Default, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub pool: PoolArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Serve /metrics for Prometheus and /healthz here, to whoever asks [default: nowhere] [env: PERENNIAL_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
    /// A server keeps this worker: it serves no metrics, and stops when its standard input ends, which is when that server does
    #[arg(long, hide = true)]
    pub kept: bool,
}

/// Works until it is told to stop (SIGINT, SIGTERM): then no new claims, sessions are given back, calls go on at the executor.
pub async fn run(args: WorkerArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    files::data_dir(&settings.data_dir.value)?;
    let traces = Traces::begin(settings)?;
    let mut hands = Hands::beside(settings).await?;
    let store = Store::of_cluster(settings, Some(hands.place())).await?;
    hands.answer(store.bus.clone());
    hands.join(store.executors.clone());
    let sandboxes = Sandboxes::made_elsewhere(&store, hands.exchange()).await;
    let gateway = house::gateway(settings, &store);
    let (closing, silent) = (CancellationToken::new(), CancellationToken::new());
    let metrics = Metrics::count();
    if !args.kept {
        metrics.serve(settings, silent.clone()).await?;
    }
    let port = Port::open(gateway.clone(), silent.clone()).await?;
    let models = Access::new(settings, &store, gateway, port.root());
    hands.exchange().furnish(store.tools());
    hands.exchange().mount(store.mcp.clone(), store.seals.clone());
    let brains = Brains::new(settings, &store, hands.router(), hands.place(), &models)?;
    let watch = store.watch(settings, brains.owner())?;
    if !args.kept {
        banner::working(&hands, settings);
    }

    let delivering = store.deliver(closing.clone());
    let thinking = brains.start(closing.clone());
    tokio::select! {
        () = signals.stop() => {}
        () = left_alone(args.kept) => tracing::warn!("the server that kept this worker is gone"),
    }
    tracing::info!("stopping");
    closing.cancel();
    thinking.ended().await;
    sandboxes.close().await;
    delivering.await?;
    silent.cancel();
    port.ended().await?;
    models.settled().await;
    drop(watch);
    hands.close().await;
    store.close().await;
    traces.close().await;
    Ok(Exit::Done)
}

/// When the server that keeps this worker is no more: the pipe that it holds is closed, whatever it died of.
async fn left_alone(kept: bool) {
    if kept {
        let mut input = tokio::io::stdin();
        let mut byte = [0];
        while matches!(input.read(&mut byte).await, Ok(1)) {}
    } else {
        std::future::pending::<()>().await;
    }
}
