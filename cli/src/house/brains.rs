//! The worker and its harnesses.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Clock, Router};
use perennial_executor::probe;
use perennial_schema::{ExecutorId, OwnerId};
use perennial_worker::harness::acp;
use perennial_worker::harness::{Installed, claude_code, codex};
use perennial_worker::{Ports, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files::HarnessHome;
use super::{Access, Store, SystemIds};
use crate::config::Settings;

/// What a worker process of this host is called.
pub(super) fn name(pid: u32) -> String {
    format!("{} {pid}", probe::hostname().unwrap_or_else(|| "unnamed".into()))
}

/// A worker that is ready to run.
pub struct Brains {
    worker: Worker,
    home: HarnessHome,
}

impl Brains {
    /// A worker over a store and a router that reaches the workspaces of `place`.
    pub fn new(
        settings: &Settings,
        store: &Store,
        router: Arc<dyn Router>,
        place: ExecutorId,
        models: &Access,
    ) -> anyhow::Result<Self> {
        let home = HarnessHome::open(&settings.data_dir.value)?;
        let ports = Ports {
            log: store.log.clone(),
            leases: store.leases.clone(),
            pool: store.pool.clone(),
            bus: store.bus.clone(),
            router,
            blobs: store.blobs.clone(),
            seals: store.seals.clone(),
            clock: store.clock.clone(),
            ids: Arc::new(SystemIds),
            harnesses: Arc::new(harnesses(settings, &home, store.clock.clone(), models)),
        };
        let settings = perennial_worker::Settings {
            name: name(std::process::id()),
            slots: settings.slots.value,
            ttl: Duration::from_millis(settings.lease_ttl_ms.value),
            renew: Duration::from_millis(settings.renew_ms.value),
            sweep: Duration::from_millis(settings.sweep_ms.value),
            place: Some(place),
            // The lock of an embedded database keeps others out.
            sole: settings.database.is_none(),
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

fn harnesses(settings: &Settings, home: &HarnessHome, clock: Arc<dyn Clock>, models: &Access) -> Installed {
    Installed {
        models: Arc::new(models.models()),
        providers: models.providers(),
        windows: settings.windows.clone(),
        claude_code: claude_code(settings, home, clock.clone(), models),
        codex: codex(settings, home, clock, models),
        acp: acp(settings, home, models),
    }
}

fn claude_code(
    settings: &Settings,
    home: &HarnessHome,
    clock: Arc<dyn Clock>,
    models: &Access,
) -> claude_code::Settings {
    let mut claude = claude_code::Settings::new(clock, models.gate()).within(settings.harness);
    claude.binary.clone_from(&settings.claude.value);
    claude.scratch = Some(home.path().to_owned());
    claude
}

fn codex(settings: &Settings, home: &HarnessHome, clock: Arc<dyn Clock>, models: &Access) -> codex::Settings {
    let mut codex = codex::Settings::new(clock, models.gate());
    codex.binary.clone_from(&settings.codex.value);
    codex.scratch = Some(home.path().to_owned());
    codex
}

fn acp(settings: &Settings, home: &HarnessHome, models: &Access) -> Vec<acp::Settings> {
    let agents = settings.acp.iter().map(|agent| {
        let acp = acp::Settings::new(agent.name.clone(), agent.program.clone(), models.gate());
        let mut acp = acp.within(settings.harness);
        acp.arguments.clone_from(&agent.arguments);
        acp.environment.clone_from(&agent.environment);
        acp.wire = agent.wire;
        acp.shows.clone_from(&agent.shows);
        acp.scratch = Some(home.path().to_owned());
        acp
    });
    agents.collect()
}
