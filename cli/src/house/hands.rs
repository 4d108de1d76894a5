//! Where tool calls go.

use std::sync::Arc;

use anyhow::{Context, Result};
use perennial_engine::ports::Router;
use perennial_executor::Executor;
use perennial_router::Exchange;
use perennial_schema::ExecutorId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Settings;

/// Frames in flight between router and executor, each way.
const FRAMES: usize = 256;

/// An executor in this process, joined to the router by a channel that carries the frames a tunnel will.
pub struct Hands {
    executor: Arc<Executor>,
    exchange: Arc<Exchange>,
    link: JoinHandle<()>,
    stop: CancellationToken,
}

impl Hands {
    /// Opens the executor of the data directory.
    pub async fn here(settings: &Settings) -> Result<Self> {
        let config = perennial_executor::Config::new(&settings.data_dir.value);
        let executor = Arc::new(Executor::open(config).await?);
        let exchange = Arc::new(Exchange::new(router_settings(settings)));
        let stop = CancellationToken::new();
        let (to_executor, at_executor) = mpsc::channel(FRAMES);
        let (from_executor, at_router) = mpsc::channel(FRAMES);
        let link = {
            let (executor, stop) = (executor.clone(), stop.clone());
            tokio::spawn(async move { executor.serve(at_executor, from_executor, stop).await })
        };
        exchange
            .attach(to_executor, at_router)
            .await
            .context("the executor of this process did not attach")?;
        Ok(Self {
            executor,
            exchange,
            link,
            stop,
        })
    }

    /// The router.
    pub fn router(&self) -> Arc<dyn Router> {
        self.exchange.clone()
    }

    /// Whose workspaces are in reach.
    pub fn place(&self) -> ExecutorId {
        self.executor.executor_id()
    }

    /// Why tools are not contained, if they are not.
    pub fn uncontained_reason(&self) -> Option<&str> {
        self.executor.uncontained_reason()
    }

    /// Stops calls that still run, and the journal says so: a known end is better than a doubt.
    pub async fn close(self) {
        self.executor.close().await;
        self.stop.cancel();
        self.exchange.close().await;
        if let Err(error) = self.link.await {
            warn!(%error, "the executor's link ended abnormally");
        }
    }
}

/// What whoever starts the router decides.
fn router_settings(settings: &Settings) -> perennial_router::Settings {
    perennial_router::Settings {
        allow_local: settings.allow_local.value,
        ..Default::default()
    }
}
