//! A folder becomes a tar file: files, folders and symlinks as such; fifos, sockets and devices are left out.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::Path;

use cap_std::fs::{Dir, Metadata, PermissionsExt as _};
use tar::{Builder, EntryType, Header};

use crate::copy::too_much;
use crate::limits::{DEPTH, Limits};
use crate::workspace::open_regular;

/// Writes the pack and gives back its length. Blocks.
pub(super) fn pack(folder: &Dir, file: File, limits: &Limits) -> io::Result<u64> {
    let mut pack = Pack {
        tar: Builder::new(BufWriter::new(file)),
        entries: limits.copy_entries,
        bytes: limits.copy_bytes,
        limits,
    };
    pack.folder(folder, Path::new(""), 0)?;
    let mut file = pack.tar.into_inner()?;
    file.flush()?;
    Ok(file.get_ref().metadata()?.len())
}

struct Pack<'a> {
    tar: Builder<BufWriter<File>>,
    /// What may still be packed.
    entries: usize,
    bytes: u64,
    limits: &'a Limits,
}

impl Pack<'_> {
    fn folder(&mut self, dir: &Dir, path: &Path, depth: usize) -> io::Result<()> {
        if depth >= DEPTH {
            return Err(too_much(format!("it is more than {DEPTH} folders deep")));
        }
        for entry in dir.entries()? {
            let name = entry?.file_name();
            let path = path.join(&name);
            let name = Path::new(&name);
            self.entries = self
                .entries
                .checked_sub(1)
                .ok_or_else(|| too_much(format!("it holds more than {} files", self.limits.copy_entries)))?;
            let meta = dir.symlink_metadata(name)?;
            if meta.is_dir() {
                let mut header = header(&meta, EntryType::Directory, 0);
                self.tar.append_data(&mut header, &path, io::empty())?;
                self.folder(&dir.open_dir(name)?, &path, depth + 1)?;
            } else if meta.is_symlink() {
                let mut header = header(&meta, EntryType::Symlink, 0);
                self.tar
                    .append_link(&mut header, &path, dir.read_link_contents(name)?)?;
            } else if meta.is_file() {
                self.file(dir, name, &path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: &Dir, name: &Path, path: &Path) -> io::Result<()> {
        let file = open_regular(dir, name)?;
        let meta = file.metadata()?;
        let size = meta.len();
        let over = || too_much(format!("it holds more than {} bytes", self.limits.copy_bytes));
        self.bytes = self.bytes.checked_sub(size).ok_or_else(over)?;
        let mut header = header(&meta, EntryType::Regular, size);
        self.tar.append_data(&mut header, path, Exactly { file, left: size })
    }
}

fn header(meta: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(meta.permissions().mode() & 0o777);
    let modified = meta.modified().ok().map(cap_std::time::SystemTime::into_std);
    let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    header.set_mtime(since.unwrap_or_default().as_secs());
    header
}

/// As many bytes as the header says, also of a file that shrinks or grows meanwhile.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match self.file.read(&mut buffer[..most])? {
            0 => {
                buffer[..most].fill(0);
                most
            }
            read => read,
        };
        self.left -= read as u64;
        Ok(read)
    }
}
