//! What clients of this machine find in the data directory: the address and the key.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use perennial_api::accounts::Secret;
use serde_json::json;

use crate::paths;

/// Makes the data directory, for its owner only.
pub(super) fn data_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the data directory {}", path.display()))
}

/// Where driven harnesses have their homes while they run.
pub(super) fn harness_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("harness")
}

/// The same, empty: nothing in it is worth keeping. Called under the data directory's lock.
pub(super) fn fresh_harness_dir(data_dir: &Path) -> Result<()> {
    let path = harness_dir(data_dir);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", path.display()))
        }
        _ => self::data_dir(&path),
    }
}

/// The key of an earlier start, if there is one.
pub(super) fn read_key(data_dir: &Path) -> Result<Option<Secret>> {
    let path = paths::key_file(data_dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let key = text.trim().parse();
    key.map(Some)
        .with_context(|| format!("{} holds no key; remove it to get a fresh one", path.display()))
}

/// Keeps a fresh key, readable by its owner only.
pub(super) fn write_key(data_dir: &Path, key: &Secret) -> Result<()> {
    replace(&paths::key_file(data_dir), key.expose())
}

/// Says where the server is.
pub(super) fn write_server(data_dir: &Path, url: &str) -> Result<()> {
    replace(
        &paths::server_file(data_dir),
        &json!({"url": url, "pid": std::process::id()}).to_string(),
    )
}

/// The server is gone; a client is told how to start it.
pub(super) fn remove_server(data_dir: &Path) {
    if let Err(error) = fs::remove_file(paths::server_file(data_dir)) {
        tracing::warn!(%error, "cannot remove server.json");
    }
}

/// Whole or not at all, also over a power loss.
fn replace(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
