//! The line to a Docker Engine: what it must be, what it has, and what its answers mean.

use bollard::errors::Error;
use bollard::models::SystemInfo;
use perennial_engine::ports::ProvisionError;

use crate::limits;

/// An engine that was reached and contains what runs in it.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: bollard::Docker,
    /// gVisor, where it is installed so that sockets can be reached from inside.
    pub(super) runtime: Option<String>,
}

impl Engine {
    /// Reaches the engine at an address.
    pub(super) async fn dial(address: &str) -> Result<Self, ProvisionError> {
        let dial = async || {
            let docker = bollard::Docker::connect_with_host(address)?;
            let docker = docker.with_timeout(limits::ENGINE_WAIT).negotiate_version().await?;
            let info = docker.info().await?;
            Ok((docker, info))
        };
        let (docker, info) = dial().await.map_err(|error: Error| failed(address, &error))?;
        if !has_seccomp(&info) {
            return Err(ProvisionError("the container engine has no seccomp filter".into()));
        }
        let runtime = gvisor(&info);
        Ok(Self { docker, runtime })
    }
}

/// What went wrong, for whoever waits.
pub(super) fn failed(address: &str, error: &Error) -> ProvisionError {
    match error {
        Error::DockerResponseServerError { message, .. } => ProvisionError(message.trim().to_owned()),
        error => ProvisionError(format!(
            "the container engine at {address} does not answer: {}",
            whole(error)
        )),
    }
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

pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What is not there need not be stopped or removed.
pub(super) fn absent_is_fine(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if status(&error) == Some(404) => Ok(()),
        done => done,
    }
}

/// What runs need not be started, what does not need not be stopped.
pub(super) fn done_before_is_fine(done: Result<(), Error>) -> Result<(), Error> {
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
    use std::collections::HashMap;

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
}
