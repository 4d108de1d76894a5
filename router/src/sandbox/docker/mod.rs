//! Sandboxes as containers of a Docker Engine on this host.
//!
//! A container has no network at all: its ways out are two unix sockets, mounted from this host; behind one the server's tunnel
//! answers and nothing else, behind the other a proxy that knows which hosts its environment allows. An internal network would be none
//! of that: containers on it reach every port that this host listens on at the bridge's address, and each other. No packet leaves, so
//! there is no metadata service and no private range to filter, and no name to resolve.
//!
//! Paused is stopped, not frozen: an idle session then costs disk and no memory, and looks the same after the host was restarted.
//! Files in the workspace stay, on a volume; processes and `/tmp` do not.
//!
//! * `container` is what one is made of, and what bounds it.
//! * `labels` says whose it is.
//! * `engine` is the line to the engine, and what its answers mean.

mod container;
mod engine;
mod labels;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions, StopContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use perennial_engine::ports::{Boot, ProvisionError, Provisioner, Seen};
use perennial_schema::ExecutorId;
use tokio::sync::OnceCell;

pub use self::container::SOCKET;
use self::container::{FILES, body, folders, tagged, volume};
use self::engine::{Engine, absent_is_fine, done_before_is_fine, failed, status};
use self::labels::{Labels, executor_of, name};
use crate::limits;

/// What whoever starts the server decides.
#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// Where the engine is: `unix:///…`.
    pub engine: String,
    /// The statically linked `perennial-executor`.
    pub program: PathBuf,
    /// A folder for each sandbox's socket; see [`super::Doors`].
    pub doors: PathBuf,
    /// Whose containers these are.
    pub instance: ExecutorId,
}

/// A Docker Engine. It is dialled when it is needed first.
#[derive(Debug)]
pub struct Docker {
    labels: Labels,
    settings: DockerSettings,
    engine: OnceCell<Engine>,
}

impl Docker {
    /// An engine that nobody has dialled yet.
    #[must_use]
    pub fn new(settings: DockerSettings) -> Self {
        Self {
            labels: Labels::of(&settings),
            settings,
            engine: OnceCell::new(),
        }
    }

    /// What the engine is.
    ///
    /// # Errors
    /// When it is not reached, or does not contain what runs in it.
    pub async fn describe(&self) -> Result<String, ProvisionError> {
        let engine = self.engine().await?;
        let version = engine.docker.version().await.map_err(|error| self.failed(&error))?;
        let runtime = engine.runtime.as_deref().unwrap_or("runc");
        Ok(format!("Docker {} with {runtime}", version.version.unwrap_or_default()))
    }

    async fn engine(&self) -> Result<&Engine, ProvisionError> {
        let open = || Engine::dial(&self.settings.engine);
        self.engine.get_or_try_init(open).await
    }

    fn failed(&self, error: &Error) -> ProvisionError {
        failed(&self.settings.engine, error)
    }

    async fn make(&self, engine: &Engine, boot: &Boot) -> Result<(), Error> {
        let docker = &engine.docker;
        let name = name(boot.executor);
        docker.create_volume(volume(&self.labels, boot)).await?;
        let options = || Some(CreateContainerOptionsBuilder::new().name(&name).build());
        let body = body(&self.settings, &self.labels, engine.runtime.as_deref(), boot);
        match docker.create_container(options(), body.clone()).await {
            Err(error) if status(&error) == Some(404) => {
                let image = CreateImageOptionsBuilder::new()
                    .from_image(&tagged(&boot.spec.image))
                    .build();
                docker
                    .create_image(Some(image), None, None)
                    .try_collect::<Vec<_>>()
                    .await?;
                docker.create_container(options(), body).await?;
            }
            made => {
                made?;
            }
        }
        // A fresh volume is root's: these two folders in it are not.
        let into = UploadToContainerOptionsBuilder::new().path(FILES).build();
        let folders = bollard::body_full(folders()?);
        docker.upload_to_container(&name, Some(into), folders).await?;
        docker.start_container(&name, None::<StartContainerOptions>).await
    }

    async fn volumes(&self, docker: &bollard::Docker) -> Result<Vec<ExecutorId>, Error> {
        let options = ListVolumesOptionsBuilder::new().filters(&self.labels.filter()).build();
        let all = docker.list_volumes(Some(options)).await?.volumes.unwrap_or_default();
        Ok(all
            .iter()
            .filter_map(|volume| executor_of(Some(&volume.labels)))
            .collect())
    }

    async fn all(&self, docker: &bollard::Docker) -> Result<BTreeMap<ExecutorId, Seen>, Error> {
        // Volumes first: one whose container is made in between is not seen as a remainder.
        let volumes = self.volumes(docker).await?;
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&self.labels.filter())
            .build();
        let containers = docker.list_containers(Some(options)).await?;
        let mut seen: BTreeMap<ExecutorId, Seen> = containers
            .iter()
            .filter_map(|container| Some((executor_of(container.labels.as_ref())?, as_seen(container))))
            .collect();
        for executor in volumes {
            seen.entry(executor).or_insert(Seen::Remains);
        }
        Ok(seen)
    }

    async fn remove_all(&self, docker: &bollard::Docker, name: &str) -> Result<(), Error> {
        match docker.inspect_container(name, None).await {
            Ok(found)
                if self
                    .labels
                    .are_on(found.config.as_ref().and_then(|config| config.labels.as_ref())) =>
            {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                absent_is_fine(docker.remove_container(name, Some(options)).await)?;
            }
            Ok(_) => return Ok(()),
            Err(error) => absent_is_fine(Err(error))?,
        }
        match docker.inspect_volume(name).await {
            Ok(found) if self.labels.are_on(Some(&found.labels)) => {
                absent_is_fine(docker.remove_volume(name, None::<RemoveVolumeOptions>).await)
            }
            Ok(_) => Ok(()),
            Err(error) => absent_is_fine(Err(error)),
        }
    }
}

#[async_trait]
impl Provisioner for Docker {
    async fn list(&self) -> Result<BTreeMap<ExecutorId, Seen>, ProvisionError> {
        let engine = self.engine().await?;
        self.all(&engine.docker).await.map_err(|error| self.failed(&error))
    }

    async fn create(&self, boot: &Boot) -> Result<(), ProvisionError> {
        let engine = self.engine().await?;
        self.make(engine, boot).await.map_err(|error| self.failed(&error))
    }

    async fn start(&self, executor: ExecutorId) -> Result<(), ProvisionError> {
        let docker = &self.engine().await?.docker;
        let started = docker
            .start_container(&name(executor), None::<StartContainerOptions>)
            .await;
        done_before_is_fine(started).map_err(|error| self.failed(&error))
    }

    async fn stop(&self, executor: ExecutorId) -> Result<(), ProvisionError> {
        let docker = &self.engine().await?.docker;
        let options = StopContainerOptionsBuilder::new()
            .t(limits::SANDBOX_STOP_SECONDS)
            .build();
        let stopped = docker.stop_container(&name(executor), Some(options)).await;
        done_before_is_fine(absent_is_fine(stopped)).map_err(|error| self.failed(&error))
    }

    async fn remove(&self, executor: ExecutorId) -> Result<(), ProvisionError> {
        let docker = &self.engine().await?.docker;
        let removed = self.remove_all(docker, &name(executor)).await;
        removed.map_err(|error| self.failed(&error))
    }
}

fn as_seen(container: &ContainerSummary) -> Seen {
    match container.state {
        Some(ContainerSummaryStateEnum::CREATED) => Seen::Made,
        Some(
            ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::REMOVING,
        ) => Seen::Stopped {
            why: container.status.clone().unwrap_or_else(|| "it ended".to_owned()),
        },
        _ => Seen::Running,
    }
}
