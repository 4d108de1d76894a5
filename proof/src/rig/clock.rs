//! The time of day as a process under test sees it, when it is started with the library that makes it so.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that says by how many seconds a process's clock is wrong.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(file: PathBuf) -> Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds off, at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // In place: processes have it mapped.
        let mut options = std::fs::File::options();
        let mut file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.file)
            .with_context(|| format!("cannot set {}", self.file.display()))?;
        Ok(file.write_all(&seconds.to_ne_bytes())?)
    }

    /// What a process must be started with to go by it.
    #[must_use]
    pub fn env(&self, library: &Path) -> [(String, String); 2] {
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("PERENNIAL_CLOCK", self.file.display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}
