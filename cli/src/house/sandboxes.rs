//! Sandboxes of this server: the reconciler, and the engine it uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use perennial_router::sandbox::{Defaults, Docker, DockerSettings, Reconciler, WaysOut};
use perennial_schema::ExecutorId;
use perennial_schema::environment::Cpus;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Front, Hands, Store};
use crate::config::SandboxSettings;

/// What a sandbox is made of when neither its environment nor the server's settings say.
const CPUS: Cpus = Cpus::thousandths(2000);
const MEMORY: u64 = 2 << 30;
const IDLE_SECONDS: u32 = 30 * 60;

/// The sandboxes of this server.
pub struct Sandboxes {
    reconciler: Arc<Reconciler>,
    tending: JoinHandle<()>,
    closing: CancellationToken,
}

impl Sandboxes {
    /// Begins to look after them; those of an earlier process are found.
    pub fn start(
        settings: &SandboxSettings,
        data_dir: &Path,
        store: &Store,
        hands: &Hands,
        front: &Front,
    ) -> Result<Self> {
        let data_dir = data_dir.canonicalize().context("the data directory")?;
        let program = program(settings)?;
        let root = data_dir.join("doors");
        super::files::data_dir(&root)?;
        let docker = Arc::new(Docker::new(DockerSettings {
            engine: settings.docker.value.clone(),
            program,
            doors: root.clone(),
            instance: hands.place(),
        }));
        // An engine that is away now may be there later: a server starts without it.
        let engine = docker.clone();
        tokio::spawn(async move {
            match engine.describe().await {
                Ok(engine) => info!(engine, "sandboxes"),
                Err(error) => warn!(%error, "no sandbox can be made now"),
            }
        });
        let closing = CancellationToken::new();
        let doors = Arc::new(front.doors(root.clone(), closing.clone()));
        let kept = (store.sandboxes.clone(), store.sessions.clone());
        let ways_out = WaysOut::new(doors, root, super::egress::guard(), kept, closing.clone());
        let reconciler = Arc::new(Reconciler::new(
            store.sandboxes.clone(),
            store.executors.clone(),
            docker,
            Arc::new(ways_out),
            store.clock.clone(),
            hands.place(),
            Defaults {
                image: settings.image.value.clone(),
                cpu: CPUS,
                memory: MEMORY,
                idle_timeout: IDLE_SECONDS,
            },
        ));
        Ok(Self {
            tending: hands.provision(&reconciler),
            reconciler,
            closing,
        })
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
        self.reconciler.close().await;
        self.closing.cancel();
        if let Err(error) = self.tending.await {
            warn!(%error, "looking after sandboxes ended abnormally");
        }
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
