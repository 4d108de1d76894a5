//! `[sandbox]`: where the sandboxes of cloud environments are made, and what of.

use std::path::PathBuf;

use serde::Deserialize;

use super::resolve::{Layers, by_default, wrong};
use super::{ConfigError, Flags, Setting};

const DEFAULT_IMAGE: &str = "debian:stable-slim";
/// A host that is restarted is back by then.
const DEFAULT_LOST_AFTER: u32 = 600;
const PROGRAM: &str = "perennial-executor";

/// How sandboxes are made.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The Docker Engine.
    pub docker: Setting<String>,
    /// The image when an environment names none.
    pub image: Setting<String>,
    /// The statically linked `perennial-executor`; by default beside this program.
    pub executor: Option<Setting<PathBuf>>,
    /// Seconds: on a cluster, others give sandboxes up whose server was not heard of for so long.
    pub lost_after: Setting<u32>,
}

/// `[sandbox]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxSection {
    docker: Option<String>,
    image: Option<String>,
    executor: Option<PathBuf>,
    lost_after: Option<u32>,
}

impl SandboxSettings {
    /// Where the program that runs inside is: the one that was named, or the one beside this program.
    pub fn program(&self) -> PathBuf {
        match &self.executor {
            Some(named) => named.value.clone(),
            None => std::env::current_exe().unwrap_or_default().with_file_name(PROGRAM),
        }
    }
}

impl Layers<'_> {
    pub(super) fn sandbox(&self, flags: &Flags, file: SandboxSection) -> Result<Option<SandboxSettings>, ConfigError> {
        let docker = self.text(
            flags.docker.clone().map(|value| (value, "--docker")),
            "PERENNIAL_DOCKER",
            file.docker.map(|value| (value, "sandbox.docker")),
        );
        let Some(docker) = docker else { return Ok(None) };
        if !docker.value.starts_with("unix:///") {
            return Err(wrong(
                &docker.from,
                &docker.value,
                "unix:///PATH of a Docker Engine on this host",
            ));
        }
        let image = self.text(
            flags.sandbox_image.clone().map(|value| (value, "--sandbox-image")),
            "PERENNIAL_SANDBOX_IMAGE",
            file.image.map(|value| (value, "sandbox.image")),
        );
        Ok(Some(SandboxSettings {
            docker,
            image: image.unwrap_or_else(|| by_default(DEFAULT_IMAGE.to_owned())),
            executor: self.path(
                None,
                "PERENNIAL_SANDBOX_EXECUTOR",
                file.executor.map(|value| (value, "sandbox.executor")),
            ),
            lost_after: self.number(
                None,
                "PERENNIAL_SANDBOX_LOST_AFTER",
                file.lost_after.map(|value| (value, "sandbox.lost_after")),
                DEFAULT_LOST_AFTER,
            )?,
        }))
    }
}
