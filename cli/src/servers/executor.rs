//! `perennial executor` = the hands of a data directory, on a unix socket in it. It outlives the workers that use it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use perennial_executor::{Executor, socket};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::exit::Exit;
use crate::house::{Signals, files};
use crate::verbs::executor::ExecutorVerb;

/// Machines that dial in; without a verb: run tools for the workers of this host.
///
/// Without a verb it serves the data directory; `perennial worker` starts it so when nothing does yet.
#[derive(Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ExecutorArgs {
    #[command(subcommand)]
    pub verb: Option<ExecutorVerb>,
    /// End after so many seconds without a worker and without a running call; 0 never ends
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub idle_exit: u64,
}

/// Serves until it is told to stop (SIGINT, SIGTERM) or has been idle for long. Calls that still run are stopped then, and
/// the journal says so.
pub async fn run(args: ExecutorArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let data_dir = &settings.data_dir.value;
    files::data_dir(data_dir)?;
    // Its journal's lock lets one executor serve a data directory.
    let executor = Arc::new(Executor::open(crate::house::hands::config(settings)).await?);
    let path = socket::path(data_dir);
    eprintln!(
        "perennial {} executor {} serves {}",
        env!("CARGO_PKG_VERSION"),
        executor.executor_id(),
        path.display()
    );
    let stop = CancellationToken::new();
    let idle = (args.idle_exit > 0).then(|| Duration::from_secs(args.idle_exit));
    let serving = socket::listen(executor, &path, idle, stop.clone());
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = signals.stop() => {
            stop.cancel();
            serving.await
        }
    };
    tracing::info!(reason = ?ended?, "stopped");
    Ok(Exit::Done)
}
