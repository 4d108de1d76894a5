//! Files that are put together beside their place and appear there whole, or not at all: readers and crashes see the old file or
//! the new one.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, File, OpenOptions};

use crate::workspace::{Folder, explain};

/// A file that is not in its place yet; dropped, it never was.
#[derive(Debug)]
pub(crate) struct Replacement {
    parent: Dir,
    name: OsString,
    temporary: String,
    /// As whoever asked for it calls it.
    path: String,
    done: bool,
}

impl Replacement {
    /// Begins a file that will be where `path` leads, through symlinks that stay inside, with the mode of what is there. Folders on
    /// the way are made. Blocks.
    pub(crate) fn begin(folder: &Folder, path: &str) -> Result<(Self, File), String> {
        let relative = folder.relative(path)?;
        let failed = |error: io::Error| explain(path, &error);
        let target = target(&folder.dir, &relative).map_err(failed)?;
        let name = target
            .file_name()
            .ok_or_else(|| format!("{path}: is not a file name"))?;
        let parent = match target.parent().filter(|parent| *parent != Path::new("")) {
            Some(parent) => {
                folder.dir.create_dir_all(parent).map_err(failed)?;
                folder.dir.open_dir(parent).map_err(failed)?
            }
            None => folder.dir.try_clone().map_err(failed)?,
        };
        // From here on only names inside the opened parent: whatever happens to the path meanwhile cannot lead elsewhere.
        let mode = match parent.symlink_metadata(name) {
            Ok(meta) if meta.is_file() => Some(meta.permissions()),
            Ok(meta) if meta.is_dir() => return Err(format!("{path}: is a directory")),
            Ok(_) => return Err(format!("{path}: not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let begun = Self {
            temporary: format!(".{:032x}.tmp", rand::random::<u128>()),
            name: name.to_owned(),
            parent,
            path: path.to_owned(),
            done: false,
        };
        let file = begun
            .parent
            .open_with(&begun.temporary, OpenOptions::new().write(true).create_new(true))
            .map_err(failed)?;
        if let Some(mode) = mode {
            file.set_permissions(mode).map_err(failed)?;
        }
        Ok((begun, file))
    }

    /// Puts it in its place. Blocks.
    pub(crate) fn commit(mut self, file: &std::fs::File) -> Result<(), String> {
        // Whoever hears that it is done must find it after a power cut too.
        let placed = file
            .sync_data()
            .and_then(|()| self.parent.rename(&self.temporary, &self.parent, &self.name));
        placed.map_err(|error| explain(&self.path, &error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.parent.remove_file(&self.temporary);
        }
    }
}

/// Where a path leads. What does not exist yet leads to itself.
fn target(dir: &Dir, path: &Path) -> io::Result<PathBuf> {
    match dir.canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.symlink_metadata(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a symlink that leads nowhere",
                ));
            }
            Ok(path.to_owned())
        }
        other => other,
    }
}
