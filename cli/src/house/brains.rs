//! The worker and its harnesses.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Clock, Router};
use perennial_schema::{ExecutorId, OwnerId};
use perennial_worker::harness::{Direct, Installed, claude_code};
use perennial_worker::model::{ModelSettings, Models, Provider};
use perennial_worker::{Ports, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files::HarnessHome;
use super::{Store, SystemIds};
use crate::config::{self, Settings};

/// A worker that is ready to run.
pub struct Brains {
    worker: Worker,
    home: HarnessHome,
}

impl Brains {
    /// A worker over a store and a router that reaches the workspaces of `place`.
    pub fn new(settings: &Settings, store: &Store, router: Arc<dyn Router>, place: ExecutorId) -> anyhow::Result<Self> {
        let home = HarnessHome::open(&settings.data_dir.value)?;
        let ports = Ports {
            log: store.log.clone(),
            leases: store.leases.clone(),
            bus: store.bus.clone(),
            router,
            blobs: store.blobs.clone(),
            clock: store.clock.clone(),
            ids: Arc::new(SystemIds),
            harnesses: Arc::new(harnesses(settings, &home, store.clock.clone())),
        };
        let settings = perennial_worker::Settings {
            slots: settings.slots.value,
            ttl: Duration::from_millis(settings.lease_ttl_ms.value),
            renew: Duration::from_millis(settings.renew_ms.value),
            sweep: Duration::from_millis(settings.sweep_ms.value),
            place: Some(place),
        };
        Ok(Self {
            worker: Worker::new(ports, settings),
            home,
        })
    }

    /// What it claims as.
    pub const fn owner(&self) -> OwnerId {
        self.worker.owner()
    }

    /// Works until `drain` is cancelled and all sessions are given back.
    pub fn start(self, drain: CancellationToken) -> Thinking {
        Thinking {
            worker: tokio::spawn(self.worker.run(drain)),
            _home: self.home,
        }
    }
}

/// A worker that runs.
pub struct Thinking {
    worker: JoinHandle<()>,
    _home: HarnessHome,
}

impl Thinking {
    /// Waits for its end.
    pub async fn ended(self) {
        if let Err(error) = self.worker.await {
            warn!(%error, "the worker ended abnormally");
        }
    }
}

fn harnesses(settings: &Settings, home: &HarnessHome, clock: Arc<dyn Clock>) -> Installed {
    let models = Models::new(&ModelSettings {
        anthropic: provider(&settings.anthropic),
        openai: provider(&settings.openai),
        ..Default::default()
    });
    Installed {
        models: Arc::new(models),
        claude_code: claude_code(settings, home, clock),
    }
}

fn provider(provider: &config::Provider) -> Option<Provider> {
    let key = provider.key.as_ref()?.value.clone();
    Some(Provider {
        base_url: provider.base_url.value.clone(),
        key,
    })
}

fn claude_code(settings: &Settings, home: &HarnessHome, clock: Arc<dyn Clock>) -> claude_code::Settings {
    let gate = Direct {
        base_url: settings.anthropic.base_url.value.clone(),
        key: settings
            .anthropic
            .key
            .as_ref()
            .map_or_else(|| "".into(), |key| key.value.clone()),
    };
    let mut claude = claude_code::Settings::new(clock, Arc::new(gate));
    claude.binary.clone_from(&settings.claude.value);
    claude.scratch = Some(home.path().to_owned());
    claude
}
