//! What clients of this machine find in the data directory: the address and the key.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_api::accounts::Secret;
use serde_json::json;

use crate::paths;

/// Makes the data directory, for its owner only.
pub fn data_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the data directory {}", path.display()))
}

/// Where the driven harnesses of this process have their homes while they run. Nothing in it is worth keeping: it goes with
/// the process, and what a SIGKILL leaves behind is swept by the next process of the data directory.
pub struct HarnessHome {
    path: PathBuf,
    /// Locked while this process lives, which is how others know.
    _alive: fs::File,
}

impl HarnessHome {
    /// An empty folder, after sweeping those of the dead.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let homes = data_dir.join("harness");
        self::data_dir(&homes)?;
        sweep(&homes).with_context(|| format!("cannot sweep {}", homes.display()))?;
        let path = homes.join(format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple()));
        self::data_dir(&path)?;
        // Locked before it has its name: a process that sweeps at this moment sees a young home, not a dead one.
        let unnamed = path.join("alive.new");
        let locked = || -> std::io::Result<fs::File> {
            let file = fs::File::create(&unnamed)?;
            file.try_lock()?;
            fs::rename(&unnamed, path.join(ALIVE))?;
            Ok(file)
        };
        let file = locked().with_context(|| format!("cannot lock {}", unnamed.display()))?;
        Ok(Self { path, _alive: file })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HarnessHome {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        fs::remove_dir_all(&self.path).ok();
    }
}

const ALIVE: &str = "alive";

/// Removes the homes of processes that are gone. One that is being made has no lock yet: it is young, and left alone.
fn sweep(homes: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(homes)? {
        let path = entry?.path();
        let dead = match fs::File::open(path.join(ALIVE)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => is_old(&path),
            Err(_) => false,
        };
        if dead {
            fs::remove_dir_all(&path).ok();
        }
    }
    Ok(())
}

fn is_old(path: &Path) -> bool {
    const YOUNG: Duration = Duration::from_secs(60);
    let age = fs::metadata(path)
        .and_then(|known| known.modified())
        .ok()
        .and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > YOUNG)
}

/// The key of an earlier start, if there is one.
pub fn read_key(data_dir: &Path) -> Result<Option<Secret>> {
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
pub fn write_key(data_dir: &Path, key: &Secret) -> Result<()> {
    replace(&paths::key_file(data_dir), key.expose())
}

/// The key that secrets are kept under; made when there is none.
pub fn seal_key(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("seal.key");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fresh = perennial_broker::seals::fresh_key();
            replace(&path, &fresh)?;
            Ok(fresh)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Says where the server is.
pub fn write_server(data_dir: &Path, url: &str) -> Result<()> {
    replace(
        &paths::server_file(data_dir),
        &json!({"url": url, "pid": std::process::id()}).to_string(),
    )
}

/// The server is gone; a client is told how to start it.
pub fn remove_server(data_dir: &Path) {
    if let Err(error) = fs::remove_file(paths::server_file(data_dir)) {
        tracing::warn!(%error, "cannot remove server.json");
    }
}

/// Whole or not at all, also over a power loss.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let dir = std::env::temp_dir().join(format!("perennial-homes-{}", uuid::Uuid::now_v7().simple()));
        let homes = dir.join("harness");
        let dead = homes.join("1-dead");
        fs::create_dir_all(&dead).expect("a folder");
        fs::write(dead.join(ALIVE), "").expect("a lock that nobody holds");
        let young = homes.join("2-young");
        fs::create_dir_all(&young).expect("a folder");
        let first = HarnessHome::open(&dir).expect("a home");
        assert!(!dead.exists() && young.exists());
        let second = HarnessHome::open(&dir).expect("another home");
        assert!(first.path().exists() && second.path().exists());
        let left = first.path().to_owned();
        drop(first);
        assert!(!left.exists() && second.path().exists());
        drop(second);
        fs::remove_dir_all(&dir).expect("removed");
    }
}
