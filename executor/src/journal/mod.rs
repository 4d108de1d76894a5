//! The call journal: what was started and what came of it, on disk before anybody acts on it (I5). It lies outside every
//! workspace, so that no tool and no restored sandbox can make it forget. One append-only file per session.
//!
//! Calls of effect `read` are not journalled: running them again is free, and their absence says *never started*, which
//! means just that. Their epochs are.
//!
//! A session that is forgotten (deleted, or a single call that was answered) keeps its file for some days beside a mark: its
//! calls may be asked for again that long. Then both go.
//!
//! Its id stands for a memory without gaps: what a journal of this id does not know never began. So a folder that was put back to
//! older state, or whose past nobody vouches for, goes on under another id ([`mark`], decisions/0005).

mod file;
mod identity;
mod mark;
mod record;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use perennial_schema::{ExecutorId, JournalId, SessionId};
use uuid::Uuid;

pub(crate) use file::{JournalFile, Known};
pub(crate) use record::{Process, Started, Stored};

use self::identity::{Name, identity};
use self::mark::Mark;
use crate::limits::{JOURNAL_AGE, KILL_LOOK, LOCK_TIME};
use crate::workspace::private_dir;

/// Files of sessions end in this.
const JOURNAL: &str = "jsonl";
/// Marks of forgotten sessions end in this.
const FORGOTTEN: &str = "forgotten";

/// The journal's folder and identity.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    pub(crate) executor_id: ExecutorId,
    pub(crate) journal_id: JournalId,
    name: Name,
    mark: Arc<Mark>,
    /// Held while this process answers from the journal: two writers would each know half.
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal under `data_dir/executor`. One of another executor than `given` is refused. `memory` is a folder
    /// that forgets when the machine is started anew, for the note of how far the journal has come. Blocks.
    pub(crate) fn open(data_dir: &Path, given: Option<ExecutorId>, memory: Option<&Path>) -> io::Result<Self> {
        let base = data_dir.join("executor");
        let dir = base.join("journal");
        private_dir(&dir)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(base.join("lock"))?;
        take(&lock)?;
        let executor_id = identity(&base, "executor_id", || {
            given.unwrap_or_else(|| ExecutorId::from_uuid(Uuid::now_v7()))
        })?;
        if given.is_some_and(|given| given != executor_id) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("this journal is {executor_id}'s"),
            ));
        }
        let mark = Mark::open(&dir)?;
        let name = Name::find(&dir, &mark, executor_id, memory)?;
        sync_dir(&base)?;
        sync_dir(data_dir)?;
        Ok(Self {
            dir,
            executor_id,
            journal_id: name.journal_id,
            name,
            mark: Arc::new(mark),
            _lock: lock,
        })
    }

    /// What it was called in earlier lives: processes of theirs may still be there.
    pub(crate) fn earlier(&self) -> &[JournalId] {
        &self.name.earlier
    }

    /// Takes the id it goes on under for its own. To be said before anything is written, and when nothing of an earlier life is
    /// alive: until then the folder has the name by which that is found. Blocks.
    pub(crate) fn keep_name(&mut self) -> io::Result<()> {
        self.name.keep(&self.dir, &self.mark)
    }

    /// Reads one session's part. Blocks.
    pub(crate) fn session(&self, session: SessionId) -> io::Result<JournalFile> {
        if !self.mark.is_in_place()? {
            return Err(io::Error::other(
                "another folder is where the journal was: start this executor anew",
            ));
        }
        JournalFile::load(self.path(session), Arc::clone(&self.mark))
    }
}

impl Journal {
    /// Marks a session as forgotten, as of now. Blocks. Not synced: a mark that is lost costs a file that stays.
    pub(crate) fn forget(&self, session: SessionId) -> io::Result<()> {
        if !self.path(session).try_exists()? {
            return Ok(());
        }
        let mark = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.mark(session))?;
        mark.set_modified(SystemTime::now())
    }

    /// Removes what was forgotten long ago, and not used since, of sessions that are not in memory. Blocks.
    pub(crate) fn sweep(&self, now: SystemTime, in_memory: impl Fn(SessionId) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let path = entry.path();
            let session = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
            let Some(session) = session.filter(|_| path.extension().is_some_and(|end| end == FORGOTTEN)) else {
                continue;
            };
            if in_memory(session) || now.duration_since(modified(&path)?).unwrap_or_default() < JOURNAL_AGE {
                continue;
            }
            let journal = self.path(session);
            match modified(&journal) {
                // It was used after it was forgotten: whoever did that forgets it again.
                Ok(used) if used > modified(&path)? => continue,
                Ok(_) => {
                    self.mark.goes(&journal)?;
                    fs::remove_file(&journal)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            fs::remove_file(&path)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn path(&self, session: SessionId) -> PathBuf {
        self.dir.join(format!("{session}.{JOURNAL}"))
    }

    fn mark(&self, session: SessionId) -> PathBuf {
        self.dir.join(format!("{session}.{FORGOTTEN}"))
    }
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// Locks, or finds that somebody else has. Waits a moment: a child that our own process is just starting holds a copy of every
/// descriptor until it becomes another program.
fn take(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another process uses this journal",
                ));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(KILL_LOOK),
        }
    }
}

/// Makes the names in a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
