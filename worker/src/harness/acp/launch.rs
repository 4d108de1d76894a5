//! The agent's process: its command, its variables, and the wall around it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use perennial_engine::ports::ModelError;
use secrecy::ExposeSecret;
use tokio::process::Command;

use super::Settings;
use crate::harness::process::{Home, Process, sandbox};
use crate::harness::{Access, fault};

/// Starts the agent in an empty home; tells where it sees its working folder.
pub(super) async fn spawn(settings: &Settings, access: &Access) -> Result<(Process, PathBuf), ModelError> {
    let bubblewrap = match &settings.bubblewrap {
        Some(bubblewrap) if *settings.wall.get_or_init(|| stands(&settings.name, bubblewrap)).await => Some(bubblewrap),
        _ => None,
    };
    let failed = |error: std::io::Error| {
        let (name, program) = (&settings.name, settings.program.display());
        fault::setup(format!(
            "the agent acp:{name} ({program}) could not be started: {error}"
        ))
    };
    // Behind the wall, a program that is not there would be told as the wall's own failure.
    tokio::fs::metadata(&settings.program).await.map_err(failed)?;
    let home = Home::within(bubblewrap.is_some(), "acp-", settings.scratch.as_deref()).map_err(failed)?;
    let mut command = match bubblewrap {
        Some(bubblewrap) => contained(settings, bubblewrap, home.path()),
        None => {
            let mut command = Command::new(&settings.program);
            command.env_clear().current_dir(home.work());
            command
        }
    };
    home.furnish(&mut command);
    command.args(&settings.arguments).envs(environment(settings, access));
    let work = home.work();
    let process = Process::spawn(command, home).map_err(failed)?;
    Ok((process, work))
}

/// The variables of the configuration, filled in.
fn environment(settings: &Settings, access: &Access) -> Vec<(String, String)> {
    let filled = settings.environment.iter().map(|(name, value)| {
        let value = value
            .replace("{base_url}", &access.base_url)
            .replace("{model}", &access.model)
            .replace("{key}", access.key.expose_secret());
        (name.clone(), value)
    });
    filled.collect()
}

fn contained(settings: &Settings, bubblewrap: &Path, home: &Path) -> Command {
    let mut command = sandbox::walls(bubblewrap);
    for shown in std::iter::once(&settings.program).chain(&settings.shows) {
        command.arg("--ro-bind").arg(shown).arg(shown);
    }
    sandbox::enter(&mut command, home);
    command.arg(&settings.program).env_clear();
    command
}

/// Whether anything runs behind the wall on this host.
async fn stands(name: &str, bubblewrap: &Path) -> bool {
    let mut probe = sandbox::walls(bubblewrap);
    probe.args(["--", "/bin/true"]).env_clear().kill_on_drop(true);
    // One that was ended from outside says nothing against it.
    let stands = probe
        .output()
        .await
        .is_ok_and(|output| output.status.success() || output.status.signal().is_some());
    if !stands {
        tracing::warn!(
            harness.name = name,
            "the agent runs without bubblewrap: a probe run of it failed"
        );
    }
    stands
}
