//! Outputs too long for an event, whole, in files beside the journal until they are stored elsewhere (I16).
//!
//! They are not synced: a file that a power loss tore is shorter than its outcome says, and whoever reads it sees that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use perennial_schema::limits::TOOL_OUTPUT_KEPT_BYTES;
use perennial_schema::tool::Whole;
use perennial_schema::{EventId, SessionId};

use crate::limits::{OUTPUT_AGE, PIECE_BYTES};
use crate::workspace::private_dir;

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    dir: PathBuf,
}

impl Outputs {
    /// Opens or makes the folder, and removes what nobody fetched in a day. Blocks.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("executor").join("outputs");
        private_dir(&dir)?;
        for session in fs::read_dir(&dir)?.flatten() {
            remove_old(&session.path());
        }
        Ok(Self { dir })
    }

    /// A place for one call's output; nothing is made before there is something to keep.
    pub(crate) fn spool(&self, session: SessionId, call_id: EventId) -> Spool {
        Spool {
            path: self.path(session, call_id),
            file: None,
            written: 0,
            kept: 0,
            broken: false,
        }
    }

    /// A piece, empty at the end; none when there is no such output. Blocks.
    pub(crate) fn read(&self, session: SessionId, call_id: EventId, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(session, call_id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES))];
        file.read_exact_at(&mut piece, offset)?;
        Ok(Some(piece))
    }

    /// Removes one output. Blocks.
    pub(crate) fn remove(&self, session: SessionId, call_id: EventId) {
        gone(fs::remove_file(self.path(session, call_id)));
        // Not empty, as long as there are others.
        let _ = fs::remove_dir(self.folder(session));
    }

    /// Removes a session's outputs. Blocks.
    pub(crate) fn forget(&self, session: SessionId) {
        gone(fs::remove_dir_all(self.folder(session)));
    }

    fn folder(&self, session: SessionId) -> PathBuf {
        self.dir.join(session.to_string())
    }

    fn path(&self, session: SessionId, call_id: EventId) -> PathBuf {
        self.folder(session).join(call_id.to_string())
    }
}

fn gone(removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a long output cannot be removed");
    }
}

fn remove_old(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let written = file.metadata().and_then(|meta| meta.modified());
        let age = written.map_or(OUTPUT_AGE, |at| {
            SystemTime::now().duration_since(at).unwrap_or_default()
        });
        if age >= OUTPUT_AGE {
            gone(fs::remove_file(file.path()));
        }
    }
    let _ = fs::remove_dir(folder);
}

/// One call's output on its way to a file. Written where it is read from the pipe: a page of the cache costs less than a
/// hop to another thread.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    kept: u64,
    broken: bool,
}

impl Spool {
    pub(crate) const fn is_used(&self) -> bool {
        self.written > 0
    }

    /// Keeps bytes up to the bound, counts all. A file that cannot be written costs the copy, not the call.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        let room = usize::try_from(TOOL_OUTPUT_KEPT_BYTES - self.kept).unwrap_or(usize::MAX);
        let kept = &bytes[..bytes.len().min(room)];
        if self.broken || kept.is_empty() {
            return;
        }
        if let Err(error) = self.write(kept) {
            tracing::warn!(%error, "a long output is not kept");
            self.broken = true;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => create(&self.path)?,
        };
        file.write_all(bytes)?;
        self.kept += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// What was kept, if anything was to be.
    pub(crate) fn whole(&self) -> Option<Whole> {
        let whole = Whole {
            written: self.written,
            kept: self.kept,
        };
        (self.is_used() && !self.broken).then_some(whole)
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        private_dir(folder)?;
    }
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(n: u128) -> (SessionId, EventId) {
        (
            SessionId::from_uuid(Uuid::from_u128(n)),
            EventId::from_uuid(Uuid::from_u128(n)),
        )
    }

    #[test]
    fn an_output_is_read_in_pieces_and_removed() {
        let data = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(data.path()).unwrap();
        let (session, call) = ids(1);
        assert_eq!(outputs.read(session, call, 0).unwrap(), None);
        let mut spool = outputs.spool(session, call);
        assert_eq!(spool.whole(), None);
        let bytes: Vec<u8> = (0..PIECE_BYTES + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
        spool.push(&bytes[..10]);
        spool.push(&bytes[10..]);
        let whole = spool.whole().unwrap();
        assert_eq!((whole.written, whole.kept), (bytes.len() as u64, bytes.len() as u64));
        let first = outputs.read(session, call, 0).unwrap().unwrap();
        let rest = outputs.read(session, call, first.len() as u64).unwrap().unwrap();
        assert_eq!(first.len(), PIECE_BYTES);
        assert_eq!([first, rest].concat(), bytes);
        assert_eq!(outputs.read(session, call, whole.kept).unwrap(), Some(Vec::new()));
        outputs.remove(session, call);
        assert_eq!(outputs.read(session, call, 0).unwrap(), None);
    }

    #[test]
    fn what_nobody_fetched_goes_after_a_day() {
        let data = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(data.path()).unwrap();
        for n in [1, 2] {
            let (session, call) = ids(n);
            outputs.spool(session, call).push(b"x");
        }
        let (session, call) = ids(1);
        let old = File::options().write(true).open(outputs.path(session, call)).unwrap();
        old.set_modified(SystemTime::now() - OUTPUT_AGE).unwrap();
        let outputs = Outputs::open(data.path()).unwrap();
        assert_eq!(outputs.read(session, call, 0).unwrap(), None);
        let (session, call) = ids(2);
        assert_eq!(outputs.read(session, call, 0).unwrap(), Some(b"x".to_vec()));
        outputs.forget(session);
        assert_eq!(outputs.read(session, call, 0).unwrap(), None);
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let data = tempfile::tempdir().unwrap();
        let (session, call) = ids(1);
        let mut spool = Outputs::open(data.path()).unwrap().spool(session, call);
        spool.kept = TOOL_OUTPUT_KEPT_BYTES - 3;
        spool.push(b"12345");
        let whole = spool.whole().unwrap();
        assert_eq!((whole.written, whole.kept), (5, TOOL_OUTPUT_KEPT_BYTES));
    }
}
