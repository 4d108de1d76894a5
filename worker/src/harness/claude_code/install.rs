//! Which Claude Code runs here, and what contains it: found out once per worker, by running both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use perennial_engine::ports::ModelError;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Settings, fault, sandbox};

/// The oldest version whose hidden flags and file format we measured. Older ones also trusted project settings too early
/// (CVE-2026-21852).
const FLOOR: Version = Version(2, 1, 197);
/// How long `--version` may take on a cold machine.
const PROBE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

/// A checked installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Install {
    /// The program, as an absolute path without links.
    pub(super) binary: PathBuf,
    /// bubblewrap, when a probe run under it succeeded.
    pub(super) bubblewrap: Option<PathBuf>,
}

/// Finds and checks the installation.
pub(super) async fn probe(settings: &Settings) -> Result<Install, ModelError> {
    let Some(named) = &settings.binary else {
        return Err(fault::setup(
            "the claude-code harness needs Claude Code: set PERENNIAL_CLAUDE_BIN to its native binary",
        ));
    };
    let shown = named.display();
    let binary = tokio::fs::canonicalize(named).await.map_err(|error| {
        fault::setup(format!(
            "PERENNIAL_CLAUDE_BIN names {shown}, which cannot be used: {error}"
        ))
    })?;
    let home = tempfile::tempdir().map_err(|error| fault::transient(format!("no temporary folder: {error}")))?;
    let text = version_text(&mut plain(&binary, &home)).await.map_err(|error| {
        fault::setup(format!(
            "PERENNIAL_CLAUDE_BIN names {shown}, which does not run: {error}"
        ))
    })?;
    check(&text)?;
    let bubblewrap = contained(settings, &binary, &home).await;
    tracing::info!(
        harness.version = text.trim(),
        harness.contained = bubblewrap.is_some(),
        "claude code found"
    );
    Ok(Install { binary, bubblewrap })
}

fn check(text: &str) -> Result<(), ModelError> {
    let Version(major, minor, patch) = FLOOR;
    let floor = format!("{major}.{minor}.{patch}");
    match parse(text) {
        Some(version) if version >= FLOOR => Ok(()),
        Some(_) => Err(fault::setup(format!(
            "Claude Code {} is too old: version {floor} or newer is needed",
            text.trim()
        ))),
        None => Err(fault::setup(format!(
            "PERENNIAL_CLAUDE_BIN does not say it is Claude Code {floor} or newer"
        ))),
    }
}

/// Reads `2.1.197 (Claude Code)`.
fn parse(text: &str) -> Option<Version> {
    let (version, _) = text.trim().split_once(" (Claude Code)")?;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let version = Version(numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

async fn contained(settings: &Settings, binary: &Path, home: &TempDir) -> Option<PathBuf> {
    let bubblewrap = settings.bubblewrap.clone()?;
    std::fs::create_dir(home.path().join(sandbox::WORK)).ok()?;
    let mut command = sandbox::wrapped(&bubblewrap, binary, home.path(), settings.ca_certs.as_deref());
    match version_text(&mut command).await {
        Ok(_) => Some(bubblewrap),
        Err(error) => {
            tracing::warn!(error = %error, "claude code runs without bubblewrap: a probe run of it failed");
            None
        }
    }
}

fn plain(binary: &Path, home: &TempDir) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home.path()).env("PATH", sandbox::PATH);
    command
}

async fn version_text(command: &mut Command) -> Result<String, String> {
    command
        .arg("--version")
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let output = timeout(PROBE, command.output())
        .await
        .map_err(|_| "it did not answer --version in time".to_owned())?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said: String = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(300)
            .collect();
        Err(format!("{} {said}", output.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, fine) in [
            ("2.1.197 (Claude Code)\n", true),
            ("2.1.1000 (Claude Code)", true),
            ("2.10.0 (Claude Code)", true),
            ("3.0.0 (Claude Code)", true),
            ("2.1.196 (Claude Code)", false),
            ("2.0.999 (Claude Code)", false),
            ("1.9.999 (Claude Code)", false),
            ("2.1.197", false),
            ("2.1.197.1 (Claude Code)", false),
            ("GNU bash, version 5.2.15", false),
            ("", false),
        ] {
            assert_eq!(check(text).is_ok(), fine, "{text:?}");
        }
    }
}
