//! Which program runs here, and what contains it: found out once per worker, by running both.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use perennial_engine::ports::ModelError;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Home, sandbox};
use crate::harness::fault;

/// How long an answer like that to `--version` may take on a cold machine.
const PROBE: Duration = Duration::from_secs(30);

/// A version of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::harness) struct Version(
    pub(in crate::harness) u32,
    pub(in crate::harness) u32,
    pub(in crate::harness) u32,
);

impl Version {
    /// Reads `2.1.197`, and nothing else.
    pub(in crate::harness) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A kind of program.
#[derive(Clone, Copy, Debug)]
pub(in crate::harness) struct Kind {
    /// The harness that needs it, as agents name it.
    pub(in crate::harness) harness: &'static str,
    /// Its name, for people.
    pub(in crate::harness) name: &'static str,
    /// The setting that says where it is.
    pub(in crate::harness) setting: &'static str,
    /// The oldest version whose behaviour we measured.
    pub(in crate::harness) floor: Version,
    /// Reads what it answers to `--version`; none when that is somebody else.
    pub(in crate::harness) version: fn(&str) -> Option<Version>,
}

/// How to find and contain a program.
#[derive(Clone, Debug)]
pub(in crate::harness) struct Settings<'a> {
    /// The native binary.
    pub(in crate::harness) binary: Option<&'a Path>,
    /// bubblewrap, used when a probe run under it succeeds; none to run without.
    pub(in crate::harness) bubblewrap: Option<&'a Path>,
    /// Certificates to trust beside the built-in ones, a PEM file.
    pub(in crate::harness) ca_certs: Option<&'a Path>,
}

/// A checked installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::harness) struct Install {
    /// The program, as an absolute path without links.
    binary: PathBuf,
    /// What it said it is.
    pub(in crate::harness) version: Version,
    /// bubblewrap, when a probe run under it succeeded.
    pub(super) bubblewrap: Option<PathBuf>,
    ca_certs: Option<PathBuf>,
}

impl Install {
    /// Finds and checks the installation.
    pub(in crate::harness) async fn probe(kind: &Kind, settings: &Settings<'_>) -> Result<Self, ModelError> {
        let Kind {
            harness, name, setting, ..
        } = kind;
        let Some(named) = settings.binary else {
            return Err(fault::setup(format!(
                "the {harness} harness needs {name}: set {setting} to its native binary"
            )));
        };
        let shown = named.display();
        let binary = tokio::fs::canonicalize(named)
            .await
            .map_err(|error| fault::setup(format!("{setting} names {shown}, which cannot be used: {error}")))?;
        let mut install = Self {
            binary,
            version: Version(0, 0, 0),
            bubblewrap: None,
            ca_certs: settings.ca_certs.map(Path::to_owned),
        };
        let text = match install.contained(kind, settings.bubblewrap).await? {
            Some(text) => text,
            None => install
                .version_text()
                .await
                .map_err(|error| error.because(&format!("{setting} names {shown}, which does not run")))?,
        };
        install.version = check(kind, &text)?;
        tracing::info!(
            harness.name = harness,
            harness.version = %install.version,
            harness.contained = install.bubblewrap.is_some(),
            "harness found"
        );
        Ok(install)
    }

    /// The program in a home, from an empty environment; arguments and variables of its own are the caller's.
    pub(in crate::harness) fn command(&self, home: &Home) -> Command {
        let mut command = match &self.bubblewrap {
            Some(bubblewrap) => sandbox::wrapped(bubblewrap, &self.binary, home.path(), self.ca_certs.as_deref()),
            None => {
                let mut command = Command::new(&self.binary);
                command.env_clear().current_dir(home.work());
                command
            }
        };
        home.furnish(&mut command);
        command
    }

    /// Where the process sees the certificates to trust beside the built-in ones.
    pub(in crate::harness) fn ca_certs(&self) -> Option<&Path> {
        let own = self.ca_certs.as_deref()?;
        Some(
            self.bubblewrap
                .as_ref()
                .map_or(own, |_| Path::new(sandbox::CERTIFICATES)),
        )
    }

    /// What it says under bubblewrap. A probe run that fails says that one of both does not work here; one that was only cut
    /// short says nothing.
    async fn contained(&mut self, kind: &Kind, bubblewrap: Option<&Path>) -> Result<Option<String>, ModelError> {
        self.bubblewrap = bubblewrap.map(Path::to_owned);
        if self.bubblewrap.is_none() {
            return Ok(None);
        }
        match self.version_text().await {
            Ok(text) => Ok(Some(text)),
            Err(error @ Failed::CutShort(_)) => Err(error.because("a probe run under bubblewrap did not end")),
            Err(Failed::Refused(error)) => {
                tracing::warn!(
                    harness.name = kind.harness,
                    %error,
                    "the harness runs without bubblewrap: a probe run of it failed"
                );
                self.bubblewrap = None;
                Ok(None)
            }
        }
    }

    async fn version_text(&self) -> Result<String, Failed> {
        let home = Home::make(self, "probe-", None)
            .map_err(|error| Failed::CutShort(format!("no temporary folder: {error}")))?;
        let mut command = self.command(&home);
        command.arg("--version");
        let said = told(command).await?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// What a program says on stdout that is asked something and then ends.
pub(in crate::harness) async fn told(mut command: Command) -> Result<Vec<u8>, Failed> {
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = timeout(PROBE, command.output())
        .await
        .map_err(|_| Failed::CutShort("it did not answer in time".to_owned()))?
        .map_err(|error| Failed::Refused(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said: String = String::from_utf8_lossy(&output.stderr)
        .trim()
        .chars()
        .take(300)
        .collect();
    let said = format!("{} {said}", output.status);
    // bubblewrap passes a signal on as a status beyond 128.
    let killed = output.status.signal().is_some() || output.status.code() == Some(128 + Signal::SIGKILL as i32);
    Err(if killed {
        Failed::CutShort(said)
    } else {
        Failed::Refused(said)
    })
}

/// Why a program that was asked something has no answer.
pub(in crate::harness) enum Failed {
    /// It was ended from outside, or took too long: another try may help.
    CutShort(String),
    /// It does not work.
    Refused(String),
}

impl Failed {
    pub(in crate::harness) fn because(self, what: &str) -> ModelError {
        match self {
            Self::CutShort(error) => fault::transient(format!("{what}: {error}")),
            Self::Refused(error) => fault::setup(format!("{what}: {error}")),
        }
    }
}

fn check(kind: &Kind, text: &str) -> Result<Version, ModelError> {
    let Kind {
        name, setting, floor, ..
    } = kind;
    match (kind.version)(text.trim()) {
        Some(version) if version >= *floor => Ok(version),
        Some(version) => Err(fault::setup(format!(
            "{name} {version} is too old: version {floor} or newer is needed"
        ))),
        None => Err(fault::setup(format!(
            "{setting} names a program that does not say it is {name} {floor} or newer"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let kind = Kind {
            harness: "some-code",
            name: "Some Code",
            setting: "SOME_BIN",
            floor: Version(2, 1, 197),
            version: |text| Version::parse(text.strip_suffix(" (Some Code)")?),
        };
        for (text, fine) in [
            ("2.1.197 (Some Code)\n", true),
            ("2.1.1000 (Some Code)", true),
            ("2.10.0 (Some Code)", true),
            ("3.0.0 (Some Code)", true),
            ("2.1.196 (Some Code)", false),
            ("2.0.999 (Some Code)", false),
            ("1.9.999 (Some Code)", false),
            ("2.1.197", false),
            ("2.1.197.1 (Some Code)", false),
            ("GNU bash, version 5.2.15", false),
            ("", false),
        ] {
            assert_eq!(check(&kind, text).is_ok(), fine, "{text:?}");
        }
    }
}
