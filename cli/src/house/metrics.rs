//! What this process counts, and who may read it without asking the API: `perennial worker` has none.

use std::time::Duration;

use anyhow::{Context, Result};
use perennial_api::{Limits, PrometheusHandle, Router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

/// Between two times at which single measurements are folded into sums: where no Prometheus looks they would pile up.
const FOLDING: Duration = Duration::from_secs(5);

/// Counts until it is dropped.
pub struct Metrics {
    handle: Option<PrometheusHandle>,
    folding: Option<JoinHandle<()>>,
}

impl Metrics {
    /// From now on everything in this process is counted.
    pub fn count() -> Self {
        let handle = perennial_api::prometheus();
        let folding = handle.clone().map(|handle| {
            tokio::spawn(async move {
                let mut timer = tokio::time::interval(FOLDING);
                loop {
                    timer.tick().await;
                    handle.run_upkeep();
                }
            })
        });
        Self { handle, folding }
    }

    /// What prints them.
    pub fn handle(&self) -> Option<PrometheusHandle> {
        self.handle.clone()
    }

    /// Serves them where the settings say, to whoever asks, until `closing` is cancelled; for a process without an API.
    pub async fn serve(&self, settings: &Settings, closing: CancellationToken) -> Result<()> {
        match &self.handle {
            Some(handle) => serve(settings, perennial_api::operations(handle.clone()), closing).await,
            None => Ok(()),
        }
    }
}

/// Serves these routes where the settings say that metrics are, if they say it.
pub(super) async fn serve(settings: &Settings, router: Router, closing: CancellationToken) -> Result<()> {
    let Some(address) = &settings.metrics_listen else {
        return Ok(());
    };
    let bound = TcpListener::bind(address.value).await;
    let listener = bound.with_context(|| format!("cannot serve metrics at {}", address.value))?;
    tracing::info!(address = %listener.local_addr()?, "metrics are served");
    tokio::spawn(async move { perennial_api::serve(listener, router, Limits::default(), closing).await });
    Ok(())
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Some(folding) = &self.folding {
            folding.abort();
        }
    }
}
