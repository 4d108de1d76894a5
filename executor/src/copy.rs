//! Copying one session's folder to another's (fork): files, folders and symlinks as such; fifos, sockets and devices are left
//! out. The copy appears under its name when it is complete, or not at all.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use perennial_schema::SessionId;

use crate::limits::{DEPTH, Limits};
use crate::workspace::{Workspaces, open_regular, private_dir};

const UNFINISHED: &str = ".copy-";

/// Removes what a crash left of copies. Blocks.
pub(crate) fn clean(workspaces: &Workspaces) {
    let Ok(entries) = std::fs::read_dir(&workspaces.root) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            discard(&entry.path());
        }
    }
}

/// Where a folder is put together before it appears under its name.
pub(crate) fn unfinished(workspaces: &Workspaces, to: SessionId) -> PathBuf {
    workspaces
        .root
        .join(format!("{UNFINISHED}{to}-{:016x}", rand::random::<u64>()))
}

/// Removes an unfinished copy, also folders in it that are closed to their owner. No symlink is followed.
pub(crate) fn discard(path: &Path) {
    open_up(path);
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(%error, "an unfinished workspace copy stays");
    }
}

fn open_up(dir: &Path) {
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Copies a folder. A session that never used a tool has none, and neither will its copy. Blocks.
pub(crate) fn copy(workspaces: &Workspaces, limits: &Limits, from: SessionId, to: SessionId) -> Result<(), String> {
    let (source, target) = (workspaces.session_path(from), workspaces.session_path(to));
    if target.symlink_metadata().is_ok() {
        return Err(format!("the workspace folder of {to} exists already"));
    }
    if !source.is_dir() {
        return Ok(());
    }
    let unfinished = unfinished(workspaces, to);
    let copied = fill(&source, &unfinished, limits).and_then(|()| appear(&unfinished, &target));
    copied.map_err(|error| {
        discard(&unfinished);
        format!("the workspace folder cannot be copied: {error}")
    })
}

fn fill(source: &Path, target: &Path, limits: &Limits) -> io::Result<()> {
    private_dir(target)?;
    let source = Dir::open_ambient_dir(source, ambient_authority())?;
    let target = Dir::open_ambient_dir(target, ambient_authority())?;
    let mut copy = Copy {
        entries: limits.copy_entries,
        bytes: limits.copy_bytes,
        limits,
    };
    copy.folder(&source, &target, 0)
}

pub(crate) fn appear(unfinished: &Path, target: &Path) -> io::Result<()> {
    Ok(renameat2(
        AT_FDCWD,
        unfinished,
        AT_FDCWD,
        target,
        RenameFlags::RENAME_NOREPLACE,
    )?)
}

struct Copy<'a> {
    /// What may still be copied.
    entries: usize,
    bytes: u64,
    limits: &'a Limits,
}

impl Copy<'_> {
    fn folder(&mut self, source: &Dir, target: &Dir, depth: usize) -> io::Result<()> {
        if depth >= DEPTH {
            return Err(too_much(format!("it is more than {DEPTH} folders deep")));
        }
        for entry in source.entries()? {
            let name = entry?.file_name();
            let name = Path::new(&name);
            self.entries = self
                .entries
                .checked_sub(1)
                .ok_or_else(|| too_much(format!("it holds more than {} files", self.limits.copy_entries)))?;
            let meta = source.symlink_metadata(name)?;
            if meta.is_dir() {
                target.create_dir(name)?;
                let (from, into) = (source.open_dir(name)?, target.open_dir(name)?);
                self.folder(&from, &into, depth + 1)?;
                // Afterwards: a folder may be closed to its owner's writes.
                target.set_permissions(name, meta.permissions())?;
            } else if meta.is_symlink() {
                target.symlink_contents(source.read_link_contents(name)?, name)?;
            } else if meta.is_file() {
                self.file(source, target, name, &meta)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, source: &Dir, target: &Dir, name: &Path, meta: &Metadata) -> io::Result<()> {
        let over = || too_much(format!("it holds more than {} bytes", self.limits.copy_bytes));
        let from = open_regular(source, name)?;
        let mut into = target.open_with(name, OpenOptions::new().write(true).create_new(true))?;
        // One byte more than is left tells that there is more, also of a file that grows.
        let copied = io::copy(&mut io::Read::take(from, self.bytes.saturating_add(1)), &mut into)?;
        self.bytes = self.bytes.checked_sub(copied).ok_or_else(over)?;
        into.set_permissions(meta.permissions())?;
        let into = into.into_std();
        // Build tools go by it.
        into.set_modified(meta.modified()?.into_std())
    }
}

pub(crate) fn too_much(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}
