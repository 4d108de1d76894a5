//! Sandboxes: those that this process makes, if it has a container engine, and those that it uses, whoever makes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, Result};
use perennial_engine::ports::{NewSandboxHost, SandboxSpec};
use perennial_router::Exchange;
use perennial_router::sandbox::{Claims, Docker, DockerSettings, Reconciler, WaysOut};
use perennial_schema::environment::Cpus;
use perennial_schema::{ExecutorId, OwnerId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::instance::{self, Instance};
use super::{Front, Store};
use crate::config::{SandboxSettings, Settings};

/// What a sandbox is made of when neither its environment nor the server's settings say.
const CPUS: Cpus = Cpus::thousandths(2000);
const MEMORY: u64 = 2 << 30;
const IDLE_SECONDS: u32 = 30 * 60;

/// The sandboxes that this process uses, and those that it makes.
pub struct Sandboxes {
    claims: Arc<Claims>,
    keeping: JoinHandle<()>,
    made: Option<Made>,
}

/// Those that it makes.
struct Made {
    reconciler: Arc<Reconciler>,
    tending: JoinHandle<()>,
    closing: CancellationToken,
    _instance: Instance,
}

impl Sandboxes {
    /// Uses those that other processes make.
    pub async fn made_elsewhere(store: &Store, exchange: &Arc<Exchange>) -> Self {
        let me = OwnerId::from_uuid(uuid::Uuid::now_v7());
        Self::used(store, exchange, None, me).await
    }

    /// Makes some if there is an engine, and uses those of others too if there are others. `place` is the executor of this process.
    pub async fn made_by(
        settings: &Settings,
        store: &Store,
        exchange: &Arc<Exchange>,
        front: &Front,
        place: Option<ExecutorId>,
    ) -> Result<Self> {
        let data_dir = &settings.data_dir.value;
        let made = match &settings.sandbox {
            Some(sandbox) => Some(Made::start(sandbox, data_dir, store, exchange, front, place).await?),
            None => {
                // It may have made some before.
                if let Some(instance) = instance::known(data_dir)? {
                    store.sandbox_hosts.resign(instance).await?;
                }
                None
            }
        };
        // Of an embedded database the lock says that whoever used something before is dead: what it said it used is this one's.
        let me = match (&settings.database, place) {
            (None, Some(place)) => place.uuid(),
            _ => uuid::Uuid::now_v7(),
        };
        Ok(Self::used(store, exchange, made, OwnerId::from_uuid(me)).await)
    }

    async fn used(store: &Store, exchange: &Arc<Exchange>, made: Option<Made>, me: OwnerId) -> Self {
        let kept = (store.sandboxes.clone(), store.sandbox_hosts.clone());
        let claims = Arc::new(Claims::new(kept, store.executors.clone(), store.bus.clone(), me));
        claims.refresh().await;
        exchange.provision(claims.clone());
        let keeper = claims.clone();
        Self {
            claims,
            keeping: tokio::spawn(async move { keeper.keep().await }),
            made,
        }
    }

    /// What they would be made with.
    pub async fn examine(settings: &SandboxSettings) -> Result<String> {
        let docker = Docker::new(DockerSettings {
            engine: settings.docker.value.clone(),
            program: program(settings)?,
            doors: PathBuf::new(),
            instance: ExecutorId::from_uuid(uuid::Uuid::nil()),
        });
        Ok(docker.describe().await?)
    }

    /// Lets go of them; they go on without a server.
    pub async fn close(self) {
        self.claims.close();
        ended(self.keeping.await);
        if let Some(made) = self.made {
            made.reconciler.close().await;
            made.closing.cancel();
            ended(made.tending.await);
        }
    }
}

impl Made {
    /// Begins to look after them; those of an earlier process are found.
    async fn start(
        settings: &SandboxSettings,
        data_dir: &Path,
        store: &Store,
        exchange: &Arc<Exchange>,
        front: &Front,
        place: Option<ExecutorId>,
    ) -> Result<Self> {
        let data_dir = data_dir.canonicalize().context("the data directory")?;
        let program = program(settings)?;
        let root = data_dir.join("doors");
        super::files::data_dir(&root)?;
        let instance = Instance::open(&data_dir, place)?;
        let docker = Arc::new(Docker::new(DockerSettings {
            engine: settings.docker.value.clone(),
            program,
            doors: root.clone(),
            instance: instance.id,
        }));
        let closing = CancellationToken::new();
        let doors = Arc::new(front.doors(root.clone(), closing.clone()));
        let kept = (store.sandboxes.clone(), store.sessions.clone());
        let ways_out = WaysOut::new(doors, root, super::egress::guard(), kept, closing.clone());
        let reconciler = Arc::new(Reconciler::new(
            (store.sandboxes.clone(), store.sandbox_hosts.clone()),
            (store.executors.clone(), store.sessions.clone()),
            docker.clone(),
            Arc::new(ways_out),
            store.bus.clone(),
            host(settings, &data_dir, instance.id),
        ));
        reconciler.announce().await;
        // An engine that is away now may be there later: a server starts without it.
        let told = reconciler.clone();
        tokio::spawn(async move {
            match docker.describe().await {
                Ok(engine) => {
                    info!(engine, "sandboxes");
                    told.found(engine);
                }
                Err(error) => warn!(%error, "no sandbox can be made now"),
            }
        });
        Ok(Self {
            tending: tokio::spawn(reconciler.clone().tend(exchange.clone())),
            reconciler,
            closing,
            _instance: instance,
        })
    }
}

/// What others are told of this process.
fn host(settings: &SandboxSettings, data_dir: &Path, instance: ExecutorId) -> NewSandboxHost {
    let machine = perennial_executor::probe::hostname().unwrap_or_default();
    NewSandboxHost {
        instance,
        node: OwnerId::from_uuid(uuid::Uuid::now_v7()),
        home: format!("{machine}:{}", data_dir.display()),
        engine: None,
        trouble: None,
        defaults: SandboxSpec {
            image: settings.image.value.clone(),
            cpu: CPUS,
            memory: MEMORY,
            disk: None,
            idle_timeout: IDLE_SECONDS,
        },
        lost_after: Duration::from_secs(settings.lost_after.value.into()),
    }
}

fn ended(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        warn!(%error, "looking after sandboxes ended abnormally");
    }
}

/// The program that runs inside.
fn program(settings: &SandboxSettings) -> Result<PathBuf> {
    let program = settings.program();
    statically_linked(&program)
        .and_then(|()| program.canonicalize())
        .with_context(|| format!("the executor of sandboxes cannot be used: {}", program.display()))
}

/// A program that needs a loader would not start in an image without one, and the engine would call the program itself missing.
fn statically_linked(program: &Path) -> io::Result<()> {
    let bytes = fs::read(program)?;
    match needs_loader(&bytes) {
        Some(false) => Ok(()),
        Some(true) => Err(io::Error::other(
            "it is not statically linked: scripts/static-executor.sh builds one that is",
        )),
        None => Err(io::Error::other("it is no program for Linux")),
    }
}

/// Whether a 64-bit ELF file names an interpreter (`PT_INTERP`). None when it is no such file.
fn needs_loader(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?)));
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let start = usize::try_from(u64::from_le_bytes(file.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (half(54)?, half(56)?);
    for at in 0..count {
        if word(start.checked_add(at * size)?)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_needs_a_loader_and_texts_are_no_programs() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needs_loader(&own), Some(true));
        assert_eq!(needs_loader(b"#!/bin/sh"), None);
        assert_eq!(needs_loader(&own[..60]), None);
    }
}
