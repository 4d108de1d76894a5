//! Workspace folders, and the only way into one: paths are resolved relative to the folder's descriptor, so that neither `..`
//! nor a symlink, swapped at whatever moment, leads out of it (S17). No path is compared as a string to decide what may be
//! opened; absolute paths are only translated.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use perennial_schema::SessionId;
use perennial_schema::frame::Workspace;

/// Where the folders of sessions are.
#[derive(Clone, Debug)]
pub(crate) struct Workspaces {
    /// The executor's data directory, canonical: no tool may see it.
    pub(crate) data_dir: PathBuf,
    /// Parent of the sessions' own folders, canonical.
    pub(crate) root: PathBuf,
    /// The folders of this host that may be worked in, canonical; none of them allows all.
    offered: Vec<PathBuf>,
}

impl Workspaces {
    pub(crate) fn open(data_dir: &Path, offered: &[PathBuf]) -> io::Result<Self> {
        let root = data_dir.join("workspaces");
        private_dir(&root)?;
        Ok(Self {
            data_dir: data_dir.canonicalize()?,
            root: root.canonicalize()?,
            offered: offered
                .iter()
                .map(|dir| dir.canonicalize())
                .collect::<io::Result<_>>()?,
        })
    }

    /// The folders that may be worked in, if not all may, for people.
    pub(crate) fn roots(&self) -> Vec<String> {
        self.offered.iter().map(|dir| dir.display().to_string()).collect()
    }

    /// Opens the folder a call works in; a session's own is made when it is first needed. An error is told to the model.
    pub(crate) fn folder(&self, session: SessionId, workspace: &Workspace) -> Result<Folder, String> {
        match workspace {
            Workspace::Session => {
                let path = self.session_path(session);
                private_dir(&path).map_err(|error| format!("the workspace folder cannot be made: {error}"))?;
                Folder::open(path.clone(), path)
            }
            Workspace::Dir { path } => self.host_folder(Path::new(path)),
        }
    }

    /// The folder a session's calls work in, if there is one by now.
    pub(crate) fn existing(&self, session: SessionId, workspace: &Workspace) -> Result<Option<Folder>, String> {
        match workspace {
            Workspace::Session if !self.session_path(session).is_dir() => Ok(None),
            Workspace::Session | Workspace::Dir { .. } => self.folder(session, workspace).map(Some),
        }
    }

    /// The folder that is offered, for what names none: the first of them.
    pub(crate) fn offered(&self) -> Result<Folder, String> {
        let first = self.offered.first();
        let first = first.ok_or("this executor offers no folder of its own")?;
        Folder::open(first.clone(), first.clone())
    }

    /// The folder that is offered and has this path in it; relative paths are in the first.
    pub(crate) fn offered_with(&self, path: &str) -> Result<Folder, String> {
        match self.offered.iter().find(|offered| Path::new(path).starts_with(offered)) {
            Some(offered) => Folder::open(offered.clone(), offered.clone()),
            None => self.offered(),
        }
    }

    pub(crate) fn session_path(&self, session: SessionId) -> PathBuf {
        self.root.join(session.to_string())
    }

    fn host_folder(&self, given: &Path) -> Result<Folder, String> {
        let shown = given.display();
        if !given.is_absolute() {
            return Err(format!("the workspace folder {shown} is not an absolute path"));
        }
        let path = given
            .canonicalize()
            .map_err(|error| format!("the workspace folder {shown} cannot be opened: {error}"))?;
        if !path.is_dir() {
            return Err(format!("the workspace folder {shown} is not a directory"));
        }
        // Keys, database and journal are in there: a folder that shows them to the tools is no workspace.
        if self.data_dir.starts_with(&path) || path.starts_with(&self.data_dir) {
            return Err(format!(
                "the workspace folder {shown} and the server's data directory {} lie inside one another: choose another folder or data directory",
                self.data_dir.display()
            ));
        }
        if self.offered.is_empty() {
            return Folder::open(path, given.to_owned());
        }
        match self.offered.iter().find(|offered| path.starts_with(offered)) {
            Some(offered) => Folder::within(offered, path, given),
            None => Err(format!(
                "this executor offers {} only, and {shown} is outside of it",
                self.roots().join(", ")
            )),
        }
    }
}

/// Makes a folder nobody else may enter; one that exists is left as it is.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// An open workspace folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: Dir,
    /// Canonical path.
    pub(crate) path: PathBuf,
    /// The path as its owner wrote it, which a model may use as well.
    given: PathBuf,
}

impl Folder {
    fn open(path: PathBuf, given: PathBuf) -> Result<Self, String> {
        let dir = Dir::open_ambient_dir(&path, ambient_authority())
            .map_err(|error| format!("the workspace folder cannot be opened: {error}"))?;
        Ok(Self { dir, path, given })
    }

    /// The same, of a folder within another one: opened from there, so that nothing swapped meanwhile leads out of it.
    fn within(offered: &Path, path: PathBuf, given: &Path) -> Result<Self, String> {
        let shown = given.display();
        let inside = path.strip_prefix(offered).map_err(|_| outside(&shown.to_string()))?;
        let opened = Dir::open_ambient_dir(offered, ambient_authority()).and_then(|offered| {
            if inside.as_os_str().is_empty() {
                Ok(offered)
            } else {
                offered.open_dir(inside)
            }
        });
        Ok(Self {
            dir: opened.map_err(|error| format!("the workspace folder {shown} cannot be opened: {error}"))?,
            given: given.to_owned(),
            path,
        })
    }

    /// The path relative to the folder; absolute ones must begin with the folder's.
    pub(crate) fn relative(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() {
            return Err("the path is empty".into());
        }
        if path.contains('\0') {
            return Err("the path contains a NUL character".into());
        }
        let given = Path::new(path);
        let relative = if given.is_absolute() {
            let inside = given
                .strip_prefix(&self.path)
                .or_else(|_| given.strip_prefix(&self.given));
            inside.map_err(|_| outside(path))?
        } else {
            given
        };
        if relative.components().all(|part| part == Component::CurDir) {
            return Ok(PathBuf::from("."));
        }
        Ok(relative.to_owned())
    }

    /// Opens a regular file for reading. Never blocks on a fifo and never opens a device.
    pub(crate) fn open_file(&self, path: &str) -> Result<File, String> {
        let relative = self.relative(path)?;
        open_regular(&self.dir, &relative).map_err(|error| explain(path, &error))
    }
}

/// Opens a regular file below `dir` for reading.
pub(crate) fn open_regular(dir: &Dir, path: &Path) -> io::Result<File> {
    // Looked at twice: opening a device can act on it, and what is there may change in between.
    check_regular(&dir.metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let file = dir.open_with(path, &options)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

fn check_regular(meta: &cap_std::fs::Metadata) -> io::Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    Err(if meta.is_dir() {
        io::ErrorKind::IsADirectory.into()
    } else {
        io::Error::new(io::ErrorKind::Unsupported, "not a regular file")
    })
}

fn outside(path: &str) -> String {
    format!("{path}: outside the workspace folder")
}

/// A file error in words for the model.
pub(crate) fn explain(path: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path}: no such file or directory"),
        io::ErrorKind::IsADirectory => format!("{path}: is a directory"),
        io::ErrorKind::NotADirectory => format!("{path}: a part of the path is not a directory"),
        // The capability layer reports an escape as a denial that no system call made.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => outside(path),
        _ => format!("{path}: {error}"),
    }
}
