//! What a machine knows of the servers it is connected to: one executor per folder and workspace, each with its token. The file
//! is its owner's alone, changed under a lock and replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::files;

/// An executor of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The folder it offers, canonical; what the connection is known by on this machine.
    pub dir: PathBuf,
    /// More folders that it offers, canonical.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<PathBuf>,
    /// The workspace it is in.
    pub workspace_id: String,
    /// The server's address.
    pub server: String,
    /// Its id there.
    pub executor_id: String,
    /// What it is called there, as of its registration.
    pub name: String,
    /// Opens its tunnel.
    pub token: String,
    /// What the owner allows there.
    #[serde(default)]
    pub terms: Terms,
}

/// What the owner of this machine allows, whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// These tools only, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Only what changes nothing.
    #[serde(default)]
    pub read_only: bool,
    /// Each call is confirmed on the terminal.
    #[serde(default)]
    pub ask: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    connections: Vec<Connection>,
}

/// The file, and the folder it is in.
pub struct Registry {
    dir: PathBuf,
}

impl Connection {
    /// The folders it offers, that for calls which name none first.
    pub fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.dir).chain(&self.more)
    }
}

impl Registry {
    /// The one in this folder, which is made when it is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        files::data_dir(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder an executor has for itself.
    pub fn home_of(&self, executor_id: &str) -> PathBuf {
        self.dir.join("executors").join(executor_id)
    }

    /// The executors that offer a folder.
    pub fn of_dir(&self, dir: &Path) -> Result<Vec<Connection>> {
        let mut known = self.read()?.connections;
        known.retain(|connection| connection.dir == dir);
        Ok(known)
    }

    /// Remembers an executor, in place of the one its folder had in its workspace.
    pub fn remember(&self, new: &Connection) -> Result<()> {
        self.change(|known| {
            known.retain(|known| (&known.dir, &known.workspace_id) != (&new.dir, &new.workspace_id));
            known.push(new.clone());
        })
    }

    /// Forgets an executor that its server does not know any more.
    pub fn forget(&self, executor_id: &str) -> Result<()> {
        self.change(|known| known.retain(|known| known.executor_id != executor_id))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Connection>)) -> Result<()> {
        let path = self.dir.join("registry.lock");
        let lock = private(File::options().create(true).truncate(false).write(true), &path);
        let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        let mut content = self.read()?;
        change(&mut content.connections);
        self.write(&content)
            .with_context(|| format!("cannot write {}", self.path().display()))
    }

    fn path(&self) -> PathBuf {
        self.dir.join("registry.json")
    }

    fn read(&self) -> Result<Content> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, content: &Content) -> io::Result<()> {
        let new = self.dir.join("registry.new");
        let mut file = private(File::options().create(true).truncate(true).write(true), &new)?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.sync_all()?;
        fs::rename(&new, self.path())?;
        File::open(&self.dir)?.sync_all()
    }
}

fn private(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn connection(dir: &str, workspace: &str, executor: &str) -> Connection {
        Connection {
            dir: dir.into(),
            more: Vec::new(),
            workspace_id: workspace.into(),
            server: "http://127.0.0.1:1".into(),
            executor_id: executor.into(),
            name: "laptop".into(),
            token: "xt_".into(),
            terms: Terms::default(),
        }
    }

    #[test]
    fn a_folder_has_one_executor_in_each_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("perennial")).unwrap();
        assert_eq!(registry.of_dir(Path::new("/a")).unwrap(), []);
        for (dir, workspace, executor) in [
            ("/a", "w1", "e1"),
            ("/a", "w2", "e2"),
            ("/b", "w1", "e3"),
            ("/a", "w1", "e4"),
        ] {
            registry.remember(&connection(dir, workspace, executor)).unwrap();
        }
        let known = Registry::open(&registry.dir).unwrap().of_dir(Path::new("/a")).unwrap();
        assert_eq!(known, [connection("/a", "w2", "e2"), connection("/a", "w1", "e4")]);
        registry.forget("e4").unwrap();
        registry.forget("e9").unwrap();
        assert_eq!(
            registry.of_dir(Path::new("/a")).unwrap(),
            [connection("/a", "w2", "e2")]
        );
        let mode = fs::metadata(registry.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn two_processes_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let dir = dir.path();
                scope.spawn(move || {
                    let registry = Registry::open(dir).unwrap();
                    registry
                        .remember(&connection("/a", &format!("w{writer}"), "e"))
                        .unwrap();
                });
            }
        });
        assert_eq!(
            Registry::open(dir.path())
                .unwrap()
                .of_dir(Path::new("/a"))
                .unwrap()
                .len(),
            8
        );
    }

    #[test]
    fn what_an_earlier_release_wrote_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{"connections":[{"dir":"/a","workspace_id":"w","server":"http://127.0.0.1:1","executor_id":"e",
            "name":"laptop","token":"xt_"}]}"#;
        fs::write(dir.path().join("registry.json"), old).unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        assert_eq!(registry.of_dir(Path::new("/a")).unwrap(), [connection("/a", "w", "e")]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("registry.json"), "{").unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        assert!(registry.remember(&connection("/a", "w", "e")).is_err());
        assert_eq!(fs::read_to_string(registry.path()).unwrap(), "{");
    }
}
