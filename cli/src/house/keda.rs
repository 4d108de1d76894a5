//! KEDA's external scaler: an address of its own.

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::config::Settings;

/// Answers KEDA where the settings say, if they say it, until `closing` is cancelled.
pub async fn answer(settings: &Settings, store: &Store, closing: CancellationToken) -> Result<Option<JoinHandle<()>>> {
    let Some(address) = &settings.keda_listen else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address.value).await;
    let listener = bound.with_context(|| format!("cannot answer KEDA at {}", address.value))?;
    tracing::info!(address = %listener.local_addr()?, "KEDA is answered");
    let (pool, slots) = (store.pool.clone(), settings.slots.value);
    Ok(Some(tokio::spawn(perennial_api::keda::serve(
        listener, pool, slots, closing,
    ))))
}
