//! What a sandbox is made of: a container that has what its executor needs and is bounded in everything else.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits, VolumeCreateRequest,
};
use bytes::Bytes;
use perennial_engine::ports::Boot;

use super::DockerSettings;
use super::labels::{Labels, name};
use crate::sandbox::ways_out::PROXY;

/// Nobody, in every image.
const USER: u64 = 65532;
/// Where things are inside.
const PROGRAM: &str = "/perennial/executor";
const DOOR: &str = "/perennial/door";
pub(super) const FILES: &str = "/sandbox";
/// The name of the socket in a door.
pub const SOCKET: &str = "socket";
const PIDS: i64 = 256;
/// Most that `/tmp` holds. It counts as memory, so it is also no more than a quarter of that.
const TMP_BYTES: u64 = 256 << 20;
const OPEN_FILES: i64 = 8192;

/// The volume that its files are on.
pub(super) fn volume(labels: &Labels, boot: &Boot) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(name(boot.executor)),
        labels: Some(labels.for_boot(boot)),
        driver_opts: boot
            .spec
            .disk
            .map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        ..VolumeCreateRequest::default()
    }
}

/// A container.
pub(super) fn body(
    settings: &DockerSettings,
    labels: &Labels,
    runtime: Option<&str>,
    boot: &Boot,
) -> ContainerCreateBody {
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
        labels: Some(labels.for_boot(boot)),
        network_disabled: Some(true),
        healthcheck: Some(bollard::models::HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..Default::default()
        }),
        host_config: Some(hardened(settings, runtime, boot)),
        ..ContainerCreateBody::default()
    }
}

/// DESIGN §8 and INVARIANTS S18: the boundary.
fn hardened(settings: &DockerSettings, runtime: Option<&str>, boot: &Boot) -> HostConfig {
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
            read_only(&settings.program, PROGRAM),
            read_only(&settings.doors.join(boot.executor.to_string()), DOOR),
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
        runtime: runtime.map(str::to_owned),
        ..HostConfig::default()
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
pub(super) fn folders() -> std::io::Result<Bytes> {
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

/// Whoever pulls an image without a tag gets every image there is of that name.
pub(super) fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.contains([':', '@']) {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
