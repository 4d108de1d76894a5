//! What carries hints and previews: within one process, or between the processes of a cluster.

use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use perennial_broker::bus::local::Local;
use perennial_broker::bus::nats;
use perennial_broker::bus::polled::{Heads, Polled};
use perennial_broker::bus::silent::Silent;
use perennial_engine::ports::Bus;
use perennial_schema::ExecutorId;
use secrecy::ExposeSecret;

use crate::config::Nats;

/// What carries hints and previews within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    /// In this process.
    #[default]
    Local,
    /// Nothing arrives.
    Silent,
}

impl BusKind {
    /// A bus of this process.
    pub(super) fn here(self) -> Arc<dyn Bus> {
        match self {
            Self::Local => Arc::new(Local::new()),
            Self::Silent => Arc::new(Silent),
        }
    }
}

/// A cluster's bus.
#[derive(Clone)]
pub(super) enum Shared {
    /// Told by NATS.
    Nats(nats::Nats),
    /// Seen by looking at the database.
    Polled(Polled),
}

impl Shared {
    pub(super) fn bus(&self) -> Arc<dyn Bus> {
        match self {
            Self::Nats(bus) => Arc::new(bus.clone()),
            Self::Polled(bus) => Arc::new(bus.clone()),
        }
    }

    pub(super) async fn close(self) {
        if let Self::Nats(bus) = self {
            bus.close().await;
        }
    }
}

/// Joins the cluster's NATS, or looks at its database when there is none. Workers of one place share wake-ups: one that
/// reaches only its own host's workspaces must not swallow what is for another host.
pub(super) async fn open(settings: Option<&Nats>, place: Option<ExecutorId>, heads: Arc<dyn Heads>) -> Result<Shared> {
    let Some(settings) = settings else {
        return Ok(Shared::Polled(Polled::new(heads)));
    };
    let mut nats = nats::Settings::new(settings.url.value.expose_secret());
    nats.prefix.clone_from(&settings.prefix.value);
    if let Some(place) = place {
        nats.wake_group = place.to_string();
    }
    Ok(Shared::Nats(nats::Nats::open(nats).await?))
}
