//! A tar file of anybody's making becomes a session's folder: nothing in it reaches outside, everything about it is bounded, and
//! the folder appears under its name when it is complete, or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, Permissions, PermissionsExt as _};
use perennial_schema::SessionId;
use tar::{Archive, Entry, EntryType};

use crate::copy::{appear, discard, too_much, unfinished};
use crate::limits::{DEPTH, Limits, PACK_PATH_BYTES};
use crate::workspace::{Workspaces, private_dir};

/// Makes the folder. Blocks.
pub(super) fn unpack(file: File, session: SessionId, workspaces: &Workspaces, limits: &Limits) -> Result<(), String> {
    let target = workspaces.session_path(session);
    if target.symlink_metadata().is_ok() {
        return Err(format!("the workspace folder of {session} exists already"));
    }
    let unfinished = unfinished(workspaces, session);
    let done = private_dir(&unfinished)
        .and_then(|()| Dir::open_ambient_dir(&unfinished, ambient_authority()))
        .and_then(|dir| Unpack::new(&dir, limits).all(file))
        .and_then(|()| appear(&unfinished, &target));
    done.map_err(|error| {
        discard(&unfinished);
        format!("the workspace folder cannot be unpacked: {error}")
    })
}

struct Unpack<'a> {
    dir: &'a Dir,
    /// What may still come.
    entries: usize,
    bytes: u64,
    limits: &'a Limits,
    /// Set at the end, innermost first: a folder may be closed to its owner's writes.
    modes: BTreeMap<PathBuf, u32>,
}

impl<'a> Unpack<'a> {
    const fn new(dir: &'a Dir, limits: &'a Limits) -> Self {
        Self {
            dir,
            entries: limits.copy_entries,
            bytes: limits.copy_bytes,
            limits,
            modes: BTreeMap::new(),
        }
    }

    fn all(mut self, file: File) -> io::Result<()> {
        let mut archive = Archive::new(BufReader::new(file));
        let (mut long_path, mut long_link) = (None, None);
        // Raw: the library would read a long name whole, however long it claims to be.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            match entry.header().entry_type() {
                EntryType::GNULongName => long_path = Some(long(&mut entry)?),
                EntryType::GNULongLink => long_link = Some(long(&mut entry)?),
                _ => self.entry(&mut entry, long_path.take(), long_link.take())?,
            }
        }
        for (path, mode) in self.modes.iter().rev() {
            self.dir.set_permissions(path, Permissions::from_mode(*mode))?;
        }
        Ok(())
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        long_path: Option<PathBuf>,
        long_link: Option<PathBuf>,
    ) -> io::Result<()> {
        self.entries = self
            .entries
            .checked_sub(1)
            .ok_or_else(|| too_much(format!("it holds more than {} files", self.limits.copy_entries)))?;
        let path = match long_path {
            Some(path) => path,
            None => entry.header().path()?.into_owned(),
        };
        let path = inside(&path)?;
        let mode = entry.header().mode()? & 0o777;
        if path.as_os_str().is_empty() {
            // The folder itself.
            return Ok(());
        }
        if let Some(parent) = path.parent()
            && !parent.as_os_str().is_empty()
        {
            self.dir.create_dir_all(parent)?;
        }
        match entry.header().entry_type() {
            EntryType::Directory => {
                self.dir.create_dir_all(&path)?;
                self.modes.insert(path, mode);
                Ok(())
            }
            EntryType::Symlink => {
                let target = match long_link {
                    Some(target) => target,
                    None => entry.header().link_name()?.unwrap_or_default().into_owned(),
                };
                self.dir.symlink_contents(target, path)
            }
            EntryType::Regular | EntryType::Continuous => self.file(entry, &path, mode),
            // Devices, fifos, hard links and what extensions there may be.
            other => Err(refused(format!(
                "{} is neither a file, a folder nor a symlink ({other:?})",
                path.display()
            ))),
        }
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path, mode: u32) -> io::Result<()> {
        let over = || too_much(format!("it holds more than {} bytes", self.limits.copy_bytes));
        self.bytes = self.bytes.checked_sub(entry.size()).ok_or_else(over)?;
        let modified = entry.header().mtime()?;
        let mut into = self
            .dir
            .open_with(path, OpenOptions::new().write(true).create_new(true))?;
        let written = io::copy(entry, &mut into)?;
        if written != entry.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.set_permissions(Permissions::from_mode(mode))?;
        let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(modified));
        // Build tools go by it.
        at.map_or(Ok(()), |at| into.into_std().set_modified(at))
    }
}

/// A long name, as GNU tar writes it: the content of an entry of its own.
fn long<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<PathBuf> {
    if entry.size() > PACK_PATH_BYTES + 1 {
        return Err(refused(format!("a path is longer than {PACK_PATH_BYTES} bytes")));
    }
    let mut name = Vec::new();
    entry.read_to_end(&mut name)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(name)))
}

/// The path as it is below the folder; one that could lead elsewhere is refused before anything is made.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    let mut depth = 0;
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refused(format!("{} leads out of the folder", path.display())));
            }
        }
        depth += 1;
        if depth > DEPTH {
            return Err(too_much(format!("it is more than {DEPTH} folders deep")));
        }
    }
    Ok(clean)
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
