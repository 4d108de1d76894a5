//! Whoever asked for it is told what happens: the watcher and the courier of this process.

use std::sync::Arc;

use perennial_egress::Guard;
use perennial_webhooks::{Courier, Watcher, WayOut};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Store, egress};
use crate::config::Settings;

/// Vets where webhooks are sent: the public internet, and what whoever runs the server names.
pub fn guard(settings: &Settings) -> Guard {
    egress::guard().trusting(settings.webhook_hosts.value.clone())
}

/// Looks and sends until `closing` is cancelled.
pub fn tell(settings: &Settings, store: &Store, closing: &CancellationToken) -> JoinSet<()> {
    let bell = Arc::new(Notify::new());
    let watcher = Watcher {
        webhooks: store.webhooks.clone(),
        sessions: store.sessions.clone(),
        log: store.log.clone(),
        bus: store.bus.clone(),
        bell: bell.clone(),
    };
    let courier = Courier {
        webhooks: store.webhooks.clone(),
        seals: store.seals.clone(),
        way: WayOut::new(guard(settings)),
        clock: store.clock.clone(),
        bell,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(watcher.run(closing.clone()));
    tasks.spawn(courier.run(closing.clone()));
    tasks
}
