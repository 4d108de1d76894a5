//! The empty folder a harness process lives in: made for it, removed after it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Install, sandbox};

/// One process's folder, for its owner's eyes only.
#[derive(Debug)]
pub(in crate::harness) struct Home {
    folder: TempDir,
    seen: PathBuf,
}

impl Home {
    /// An empty home with an empty working folder in it, below `scratch` or the system's temporary folder.
    pub(in crate::harness) fn make(install: &Install, prefix: &str, scratch: Option<&Path>) -> std::io::Result<Self> {
        Self::within(install.bubblewrap.is_some(), prefix, scratch)
    }

    /// The same for a process that is behind a wall, or is not.
    pub(in crate::harness) fn within(is_walled: bool, prefix: &str, scratch: Option<&Path>) -> std::io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        let folder = match scratch {
            Some(scratch) => builder.tempdir_in(scratch)?,
            None => builder.tempdir()?,
        };
        std::fs::create_dir(folder.path().join(sandbox::WORK))?;
        let seen = if is_walled {
            PathBuf::from(sandbox::INSIDE)
        } else {
            folder.path().canonicalize()?
        };
        Ok(Self { folder, seen })
    }

    /// The variables every process gets in it.
    pub(in crate::harness) fn furnish(&self, command: &mut Command) {
        command
            .env("HOME", &self.seen)
            .env("TMPDIR", &self.seen)
            .env("PATH", sandbox::PATH)
            .env("TERM", "dumb")
            // One clock for all workers: a harness may tell its model the date.
            .env("TZ", "UTC");
    }

    /// Where we write its files.
    pub(in crate::harness) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the process sees it: with bubblewrap the same on every worker.
    pub(in crate::harness) fn seen(&self) -> &Path {
        &self.seen
    }

    /// Where the process sees its working folder: empty, so that there is nothing to be led astray by.
    pub(in crate::harness) fn work(&self) -> PathBuf {
        self.seen.join(sandbox::WORK)
    }
}
