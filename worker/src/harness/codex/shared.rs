//! What all sessions of a worker share: the installation, the process, the way to providers.

use std::sync::{Arc, OnceLock};

use perennial_engine::ports::ModelError;
use tokio::sync::{Mutex, OnceCell};

use super::server::Server;
use super::{CODEX, Settings, catalogue};
use crate::harness::process::{self, Failed, Home, Install};
use crate::limits;
use crate::model::Timeouts;
use crate::model::http::Http;

/// Shared by all clones of one settings.
#[derive(Debug, Default)]
pub(super) struct Shared {
    found: OnceCell<Found>,
    server: Mutex<Option<Arc<Server>>>,
    http: OnceLock<Http>,
}

/// What was found out about the installation, once.
#[derive(Debug)]
struct Found {
    install: Install,
    catalogue: String,
}

impl Shared {
    /// The process, started by the first who asks, and again after it died or had many threads. What still runs in an old one
    /// keeps it until it is done.
    pub(super) async fn server(self: &Arc<Self>, settings: &Settings) -> Result<Arc<Server>, ModelError> {
        let found = self.found.get_or_try_init(|| find(settings)).await?;
        let mut server = self.server.lock().await;
        if let Some(server) = server.as_ref().filter(|server| server.takes_threads()) {
            return Ok(server.clone());
        }
        *server = None;
        let started = Server::start(&found.install, &found.catalogue, settings.scratch.as_deref()).await?;
        tokio::spawn(retire(Arc::downgrade(self), Arc::downgrade(&started)));
        *server = Some(started.clone());
        Ok(started)
    }

    pub(super) fn http(&self, settings: &Settings) -> &Http {
        let timeouts = Timeouts {
            idle: settings.silence,
            ..Timeouts::default()
        };
        self.http.get_or_init(|| Http::new(timeouts))
    }

    /// Lets go of the process: it ends with its last thread.
    pub(super) async fn close(&self) {
        *self.server.lock().await = None;
    }

    pub(super) async fn process_id(&self) -> Option<u32> {
        self.server.lock().await.as_ref()?.process_id()
    }
}

/// Lets go of a process that has had nothing to do for long, or that died.
async fn retire(shared: std::sync::Weak<Shared>, server: std::sync::Weak<Server>) {
    let mut entered = None;
    loop {
        tokio::time::sleep(limits::CODEX_IDLE).await;
        let (Some(shared), Some(server)) = (shared.upgrade(), server.upgrade()) else {
            return;
        };
        let mut current = shared.server.lock().await;
        let unused = server.is_idle() && entered == Some(server.entered());
        if unused || !server.takes_threads() {
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &server)) {
                *current = None;
            }
            return;
        }
        entered = Some(server.entered());
    }
}

async fn find(settings: &Settings) -> Result<Found, ModelError> {
    let probe = process::Settings {
        binary: settings.binary.as_deref(),
        bubblewrap: settings.bubblewrap.as_deref(),
        // It speaks to loopback only.
        ca_certs: None,
    };
    let install = Install::probe(&CODEX, &probe).await?;
    let own = models(&install, settings)
        .await
        .map_err(|failed| failed.because("Codex does not name its models"))?;
    let catalogue = catalogue::direct(&own)?;
    Ok(Found { install, catalogue })
}

/// The program's own catalogue.
async fn models(install: &Install, settings: &Settings) -> Result<Vec<u8>, Failed> {
    let home = Home::make(install, "codex-probe-", settings.scratch.as_deref())
        .map_err(|error| Failed::CutShort(format!("no temporary folder: {error}")))?;
    let mut command = install.command(&home);
    command.args(["debug", "models"]).env("CODEX_HOME", home.seen());
    process::told(command).await
}
