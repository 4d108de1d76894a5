//! Workspace folders as one tar file each, on their way out (export) or in (import). A pack lies beside the journal and travels
//! in pieces; every question about it may be asked again, since answers get lost.

mod make;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_schema::frame::{PACK_PIECE_BYTES, PackAnswer, PackAsk};
use perennial_schema::{PackId, SessionId};

use crate::limits::{Limits, PACK_AGE, PACK_ENTRY_BYTES, PACKS};
use crate::workspace::{Workspaces, private_dir};

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Packs {
    dir: PathBuf,
}

impl Packs {
    /// Opens or makes the folder and empties it: whoever put something together here begins anew. Blocks.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("executor").join("packs");
        private_dir(&dir)?;
        for file in fs::read_dir(&dir)?.flatten() {
            fs::remove_file(file.path())?;
        }
        Ok(Self { dir })
    }

    /// Does what is asked. Blocks.
    pub(crate) fn answer(&self, pack: PackId, ask: PackAsk, workspaces: &Workspaces, limits: &Limits) -> PackAnswer {
        let done = match ask {
            PackAsk::Make { session, workspace } => workspaces
                .existing(session, &workspace)
                .and_then(|folder| self.make(pack, folder.as_ref(), limits))
                .map(|bytes| PackAnswer::Made { bytes }),
            PackAsk::Read { offset } => self
                .read(pack, offset)
                .map(|piece| PackAnswer::Piece {
                    offset,
                    piece: STANDARD.encode(piece),
                })
                .map_err(|error| format!("the pack cannot be read: {error}")),
            PackAsk::Write { offset, piece } => self
                .write(pack, offset, &piece, limits)
                .map(|bytes| PackAnswer::Written { bytes }),
            PackAsk::Unpack { session } => self
                .unpack(pack, session, workspaces, limits)
                .map(|()| PackAnswer::Unpacked),
            PackAsk::Drop => {
                self.remove(pack);
                Ok(PackAnswer::Dropped)
            }
        };
        done.unwrap_or_else(|message| PackAnswer::Failed { message })
    }

    fn make(&self, pack: PackId, folder: Option<&crate::workspace::Folder>, limits: &Limits) -> Result<u64, String> {
        let refuse = |error: io::Error| format!("the workspace folder cannot be packed: {error}");
        self.room().map_err(refuse)?;
        let (path, unfinished) = (self.path(pack), self.path(pack).with_extension("new"));
        let Some(folder) = folder else {
            create(&path).map_err(refuse)?;
            return Ok(0);
        };
        let made = create(&unfinished)
            .and_then(|file| make::pack(&folder.dir, file, limits))
            .and_then(|bytes| fs::rename(&unfinished, &path).map(|()| bytes));
        made.map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            refuse(error)
        })
    }

    fn read(&self, pack: PackId, offset: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(pack))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(left).map_or(PACK_PIECE_BYTES, |left| left.min(PACK_PIECE_BYTES))];
        file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }

    fn write(&self, pack: PackId, offset: u64, piece: &str, limits: &Limits) -> Result<u64, String> {
        let refuse = |error: io::Error| format!("the pack cannot be written: {error}");
        let bytes = STANDARD
            .decode(piece)
            .map_err(|error| format!("a piece of the pack is damaged: {error}"))?;
        if bytes.len() > PACK_PIECE_BYTES || offset.saturating_add(bytes.len() as u64) > pack_bytes(limits) {
            return Err(format!("the workspace takes more than {} bytes", limits.copy_bytes));
        }
        if offset == 0 {
            self.room().map_err(refuse)?;
        }
        let file = File::options()
            .write(true)
            .create(offset == 0)
            .mode(0o600)
            .open(self.path(pack))
            .map_err(refuse)?;
        let length = file.metadata().map_err(refuse)?.len();
        if offset > length {
            return Err(format!("a piece at {offset} leaves a gap behind {length}"));
        }
        file.write_all_at(&bytes, offset).map_err(refuse)?;
        Ok(length.max(offset + bytes.len() as u64))
    }

    fn unpack(&self, pack: PackId, session: SessionId, workspaces: &Workspaces, limits: &Limits) -> Result<(), String> {
        let (path, done) = (self.path(pack), self.path(pack).with_extension("done"));
        if done.exists() {
            return Ok(());
        }
        let file = File::open(&path).map_err(|error| format!("the pack cannot be opened: {error}"))?;
        unpack::unpack(file, session, workspaces, limits)?;
        // Asked again, it says the same.
        let told = File::options().write(true).truncate(true).open(&path);
        let told = told.and_then(|_| fs::rename(&path, &done));
        if let Err(error) = told {
            tracing::warn!(%error, "a pack stays after it was unpacked");
        }
        Ok(())
    }

    fn remove(&self, pack: PackId) {
        for path in [
            self.path(pack),
            self.path(pack).with_extension("new"),
            self.path(pack).with_extension("done"),
        ] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a pack cannot be removed");
            }
        }
    }

    /// Removes what nobody touched for long; an error when there are too many still.
    fn room(&self) -> io::Result<()> {
        let mut count = 0;
        for file in fs::read_dir(&self.dir)?.flatten() {
            let touched = file.metadata().and_then(|meta| meta.modified())?;
            if SystemTime::now().duration_since(touched).unwrap_or_default() >= PACK_AGE {
                fs::remove_file(file.path())?;
            } else {
                count += 1;
            }
        }
        if count >= PACKS {
            return Err(io::Error::other(
                "too many workspaces are on their way; try again later",
            ));
        }
        Ok(())
    }

    fn path(&self, pack: PackId) -> PathBuf {
        self.dir.join(pack.to_string())
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// The most a pack may take with what stands around the files.
fn pack_bytes(limits: &Limits) -> u64 {
    limits
        .copy_bytes
        .saturating_add(PACK_ENTRY_BYTES.saturating_mul(limits.copy_entries as u64))
}

#[cfg(test)]
mod tests;
