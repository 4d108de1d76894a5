//! `write`, and the atomic replacement it shares with `edit`: readers and crashes see the old file or the new one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions};
use perennial_schema::tool::WriteInput;

use crate::workspace::{Folder, explain};

pub(super) fn run(input: &WriteInput, folder: &Folder) -> Result<String, String> {
    let path = &input.file_path;
    replace(folder, path, input.content.as_bytes())?;
    Ok(format!("wrote {} bytes to {path}", input.content.len()))
}

/// Puts `content` where `path` leads, through symlinks that stay inside, keeping the mode of what was there.
pub(super) fn replace(folder: &Folder, path: &str, content: &[u8]) -> Result<(), String> {
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
    let temporary = format!(".{:032x}.tmp", rand::random::<u128>());
    let written = write_new(&parent, &temporary, content, mode).and_then(|()| parent.rename(&temporary, &parent, name));
    written.map_err(|error| {
        let _ = parent.remove_file(&temporary);
        failed(error)
    })
}

fn write_new(parent: &Dir, name: &str, content: &[u8], mode: Option<cap_std::fs::Permissions>) -> io::Result<()> {
    let mut file = parent.open_with(name, OpenOptions::new().write(true).create_new(true))?;
    file.write_all(content)?;
    if let Some(mode) = mode {
        file.set_permissions(mode)?;
    }
    // The journal will say that this write is done: then it must outlive a power cut as the journal does.
    file.sync_data()
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
