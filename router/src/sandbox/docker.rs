//! Sandboxes as containers of a Docker Engine on this host.
//!
//! A container has no network at all: its ways out are two unix sockets, mounted from this host; behind one the server's tunnel
//! answers and nothing else, behind the other a proxy that knows which hosts its environment allows. An internal network would be none of that: containers on it reach every port that this host listens
//! on at the bridge's address, and each other. No packet leaves, so there is no metadata service and no private range to filter,
//! and no name to resolve.
//!
//! Paused is stopped, not frozen: an idle session then costs disk and no memory, and looks the same after the host was restarted.
//! Files in the workspace stay, on a volume; processes and `/tmp` do not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountType, ResourcesUlimits, SystemInfo, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions, StopContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use perennial_engine::ports::{Boot, ProvisionError, Provisioner, Seen};
use perennial_schema::ExecutorId;
use tokio::sync::OnceCell;

use super::ways_out::PROXY;
use crate::limits;

/// Who made a container or a volume; nothing with another value is touched.
const INSTANCE: &str = "perennial.instance";
/// And where the sockets are that it was made with: the copy of a data directory is another install.
const DOORS: &str = "perennial.doors";
const EXECUTOR: &str = "perennial.executor";
const SESSION: &str = "perennial.session";
/// Nobody, in every image.
const USER: u64 = 65532;
/// Where things are inside.
const PROGRAM: &str = "/perennial/executor";
const DOOR: &str = "/perennial/door";
const FILES: &str = "/sandbox";
/// The name of the socket in a door.
pub const SOCKET: &str = "socket";
const PIDS: i64 = 256;
/// Most that `/tmp` holds. It counts as memory, so it is also no more than a quarter of that.
const TMP_BYTES: u64 = 256 << 20;
const OPEN_FILES: i64 = 8192;

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
    settings: DockerSettings,
    engine: OnceCell<Engine>,
}

#[derive(Debug)]
struct Engine {
    docker: bollard::Docker,
    /// gVisor, where it is installed so that sockets can be reached from inside.
    runtime: Option<String>,
}

impl Docker {
    /// An engine that nobody has dialled yet.
    #[must_use]
    pub fn new(settings: DockerSettings) -> Self {
        Self {
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
        let dial = async || {
            let docker = bollard::Docker::connect_with_host(&self.settings.engine)?;
            let docker = docker.with_timeout(limits::ENGINE_WAIT).negotiate_version().await?;
            let info = docker.info().await?;
            Ok((docker, info))
        };
        let open = || async {
            let (docker, info) = dial().await.map_err(|error: Error| self.failed(&error))?;
            if !has_seccomp(&info) {
                return Err(ProvisionError("the container engine has no seccomp filter".into()));
            }
            let runtime = gvisor(&info);
            Ok(Engine { docker, runtime })
        };
        self.engine.get_or_try_init(open).await
    }

    fn failed(&self, error: &Error) -> ProvisionError {
        match error {
            Error::DockerResponseServerError { message, .. } => ProvisionError(message.trim().to_owned()),
            error => ProvisionError(format!(
                "the container engine at {} does not answer: {}",
                self.settings.engine,
                whole(error)
            )),
        }
    }

    /// What carries our label.
    fn mine(&self) -> HashMap<String, Vec<String>> {
        let own = self.own_labels().map(|(key, value)| format!("{key}={value}"));
        HashMap::from([("label".to_owned(), own.to_vec())])
    }

    fn own_labels(&self) -> [(&'static str, String); 2] {
        [
            (INSTANCE, self.settings.instance.to_string()),
            (DOORS, self.settings.doors.display().to_string()),
        ]
    }

    fn labels(&self, boot: &Boot) -> HashMap<String, String> {
        let about = [
            (EXECUTOR, boot.executor.to_string()),
            (SESSION, boot.key.session.to_string()),
        ];
        let labels = self.own_labels().into_iter().chain(about);
        labels.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn is_mine(&self, labels: Option<&HashMap<String, String>>) -> bool {
        let has = |(key, value): &(&str, String)| labels.and_then(|labels| labels.get(*key)) == Some(value);
        self.own_labels().iter().all(has)
    }

    async fn make(&self, engine: &Engine, boot: &Boot) -> Result<(), Error> {
        let docker = &engine.docker;
        let name = name(boot.executor);
        let volume = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(self.labels(boot)),
            driver_opts: boot
                .spec
                .disk
                .map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
            ..VolumeCreateRequest::default()
        };
        docker.create_volume(volume).await?;
        let options = || Some(CreateContainerOptionsBuilder::new().name(&name).build());
        let body = self.body(engine, boot);
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

    fn body(&self, engine: &Engine, boot: &Boot) -> ContainerCreateBody {
        let own = |name: &str, value: &str| format!("{name}={value}");
        ContainerCreateBody {
            image: Some(boot.spec.image.clone()),
            // Whatever the image would run, and whoever it would be.
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            cmd: Some(Vec::new()),
            user: Some(format!("{USER}:{USER}")),
            working_dir: Some("/".to_owned()),
            hostname: Some("sandbox".to_owned()),
            env: Some(vec![
                own("PERENNIAL_HOME", &format!("unix:{DOOR}/{SOCKET}")),
                own("PERENNIAL_EXECUTOR_ID", &boot.executor.to_string()),
                own("PERENNIAL_START_CODE", boot.code.expose()),
                own("PERENNIAL_STATE", &format!("{FILES}/state")),
                own("PERENNIAL_PROXY", &format!("{DOOR}/{PROXY}")),
                own("PERENNIAL_WORK", &format!("{FILES}/work")),
            ]),
            labels: Some(self.labels(boot)),
            network_disabled: Some(true),
            healthcheck: Some(bollard::models::HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..Default::default()
            }),
            host_config: Some(self.hardened(engine, boot)),
            ..ContainerCreateBody::default()
        }
    }

    /// DESIGN §8 and INVARIANTS S18: the boundary.
    fn hardened(&self, engine: &Engine, boot: &Boot) -> HostConfig {
        let memory = bounded(boot.spec.memory);
        HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            privileged: Some(false),
            readonly_rootfs: Some(true),
            network_mode: Some("none".to_owned()),
            ipc_mode: Some("private".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            pids_limit: Some(PIDS),
            memory: Some(memory),
            // No swap beside it.
            memory_swap: Some(memory),
            nano_cpus: Some(i64::from(boot.spec.cpu.in_thousandths()) * 1_000_000),
            ulimits: Some(vec![ulimit("nofile", OPEN_FILES), ulimit("core", 0)]),
            tmpfs: Some(HashMap::from([(
                "/tmp".to_owned(),
                format!("rw,nosuid,nodev,mode=1777,size={}", TMP_BYTES.min(boot.spec.memory / 4)),
            )])),
            mounts: Some(vec![
                read_only(&self.settings.program, PROGRAM),
                read_only(&self.settings.doors.join(boot.executor.to_string()), DOOR),
                Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(name(boot.executor)),
                    target: Some(FILES.to_owned()),
                    ..Mount::default()
                },
            ]),
            // Reaps what shells leave behind.
            init: Some(true),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), "1m".to_owned()),
                    ("max-file".to_owned(), "1".to_owned()),
                ])),
            }),
            runtime: engine.runtime.clone(),
            ..HostConfig::default()
        }
    }

    async fn volumes(&self, docker: &bollard::Docker) -> Result<Vec<ExecutorId>, Error> {
        let options = ListVolumesOptionsBuilder::new().filters(&self.mine()).build();
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
            .filters(&self.mine())
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
            Ok(found) if self.is_mine(found.config.as_ref().and_then(|config| config.labels.as_ref())) => {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                absent_is_fine(docker.remove_container(name, Some(options)).await)?;
            }
            Ok(_) => return Ok(()),
            Err(error) => absent_is_fine(Err(error))?,
        }
        match docker.inspect_volume(name).await {
            Ok(found) if self.is_mine(Some(&found.labels)) => {
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

/// Whoever pulls an image without a tag gets every image there is of that name.
fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.contains([':', '@']) {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

/// What a container and its volume are called.
fn name(executor: ExecutorId) -> String {
    format!("perennial-{}", executor.uuid().simple())
}

fn executor_of(labels: Option<&HashMap<String, String>>) -> Option<ExecutorId> {
    labels?.get(EXECUTOR)?.parse().ok()
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

fn read_only(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    }
}

fn ulimit(name: &str, most: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(most),
        hard: Some(most),
    }
}

fn bounded(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The two folders of a sandbox's files, its user's: the journal's for nobody else.
fn folders() -> std::io::Result<Bytes> {
    let mut tape = tar::Builder::new(Vec::new());
    for (name, mode) in [("state", 0o700), ("work", 0o755)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_uid(USER);
        header.set_gid(USER);
        header.set_size(0);
        tape.append_data(&mut header, name, std::io::empty())?;
    }
    tape.into_inner().map(Bytes::from)
}

fn has_seccomp(info: &SystemInfo) -> bool {
    let options = info.security_options.iter().flatten();
    options
        .into_iter()
        .any(|option| option.contains("name=seccomp") && !option.contains("unconfined"))
}

/// Its sandbox reaches a socket of the host only when it is told to let it.
fn gvisor(info: &SystemInfo) -> Option<String> {
    const NAME: &str = "runsc";
    let runtime = info.runtimes.as_ref()?.get(NAME)?;
    let args = runtime.runtime_args.iter().flatten();
    if args
        .into_iter()
        .any(|arg| arg == "--host-uds=open" || arg == "--host-uds=all")
    {
        return Some(NAME.to_owned());
    }
    tracing::warn!(
        "gVisor is not used for sandboxes: its runtimeArgs in the engine's daemon.json lack --host-uds=open"
    );
    None
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What is not there need not be stopped or removed.
fn absent_is_fine(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if status(&error) == Some(404) => Ok(()),
        done => done,
    }
}

/// What runs need not be started, what does not need not be stopped.
fn done_before_is_fine(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if status(&error) == Some(304) => Ok(()),
        done => done,
    }
}

/// With what is behind it: the first alone says next to nothing.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use bollard::models::Runtime;

    use super::*;

    #[test]
    fn an_engine_without_a_filter_is_none() {
        let info = |options: &[&str]| SystemInfo {
            security_options: Some(options.iter().map(|option| (*option).to_owned()).collect()),
            ..SystemInfo::default()
        };
        assert!(has_seccomp(&info(&["name=apparmor", "name=seccomp,profile=default"])));
        assert!(has_seccomp(&info(&["name=seccomp,profile=builtin"])));
        assert!(!has_seccomp(&info(&["name=seccomp,profile=unconfined"])));
        assert!(!has_seccomp(&info(&["name=apparmor"])) && !has_seccomp(&SystemInfo::default()));
    }

    #[test]
    fn one_image_is_pulled() {
        for (image, pulled) in [
            ("debian", "debian:latest"),
            ("debian:stable-slim", "debian:stable-slim"),
            ("127.0.0.1:5000/own", "127.0.0.1:5000/own:latest"),
            ("127.0.0.1:5000/own:1", "127.0.0.1:5000/own:1"),
            ("own@sha256:00", "own@sha256:00"),
        ] {
            assert_eq!(tagged(image), pulled);
        }
    }

    #[test]
    fn gvisor_is_used_where_it_lets_the_socket_through() {
        let info = |args: &[&str]| SystemInfo {
            runtimes: Some(HashMap::from([(
                "runsc".to_owned(),
                Runtime {
                    runtime_args: Some(args.iter().map(|arg| (*arg).to_owned()).collect()),
                    ..Runtime::default()
                },
            )])),
            ..SystemInfo::default()
        };
        assert_eq!(gvisor(&SystemInfo::default()), None);
        assert_eq!(gvisor(&info(&[])), None);
        assert_eq!(gvisor(&info(&["--debug", "--host-uds=open"])), Some("runsc".to_owned()));
    }

    #[test]
    fn folders_are_the_users_and_the_journal_is_private() {
        let bytes = folders().unwrap();
        let mut tape = tar::Archive::new(&bytes[..]);
        let found: Vec<_> = tape
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (
                    path,
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                )
            })
            .collect();
        let own = |path: &str, mode| (path.to_owned(), mode, USER, USER);
        assert_eq!(found, [own("state", 0o700), own("work", 0o755)]);
    }
}
