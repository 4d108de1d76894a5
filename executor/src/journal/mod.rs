//! The call journal: what was started and what came of it, on disk before anybody acts on it (I5). It lies outside every
//! workspace, so that no tool and no restored sandbox can make it forget. One append-only file per session.
//!
//! Calls of effect `read` are not journalled: running them again is free, and their absence says *never started*, which
//! means just that. Their epochs are.
//!
//! A session that is forgotten (deleted, or a single call that was answered) keeps its file for some days beside a mark: its
//! calls may be asked for again that long. Then both go.

mod file;
mod record;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Instant, SystemTime};

use perennial_schema::{ExecutorId, JournalId, SessionId};
use uuid::Uuid;

pub(crate) use file::{JournalFile, Known};
pub(crate) use record::{Process, Started, Stored};

use crate::limits::{JOURNAL_AGE, KILL_LOOK, LOCK_TIME};
use crate::workspace::private_dir;

/// Marks of forgotten sessions end in this.
const FORGOTTEN: &str = "forgotten";

/// The journal's folder and identity.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    pub(crate) executor_id: ExecutorId,
    pub(crate) journal_id: JournalId,
    /// Held while this process answers from the journal: two writers would each know half.
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal under `data_dir/executor`. One of another executor than `given` is refused. Blocks.
    pub(crate) fn open(data_dir: &Path, given: Option<ExecutorId>) -> io::Result<Self> {
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
        // Inside the folder it names: who deletes the memory deletes its name with it, and settles do not mistake the new one
        // for a memory that never saw the call.
        let journal_id = identity(&dir, "journal_id", || JournalId::from_uuid(Uuid::now_v7()))?;
        sync_dir(&base)?;
        sync_dir(data_dir)?;
        Ok(Self {
            dir,
            executor_id,
            journal_id,
            _lock: lock,
        })
    }

    /// Reads one session's part. Blocks.
    pub(crate) fn session(&self, session: SessionId) -> io::Result<JournalFile> {
        JournalFile::load(self.path(session))
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
                Ok(_) => fs::remove_file(&journal)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            fs::remove_file(&path)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn path(&self, session: SessionId) -> PathBuf {
        self.dir.join(format!("{session}.jsonl"))
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

/// Reads an id, or makes one that is there completely or not at all.
fn identity<T: FromStr + ToString>(dir: &Path, name: &str, make: impl FnOnce() -> T) -> io::Result<T> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no valid id", path.display()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = make();
            let new = dir.join(format!("{name}.new"));
            let mut file = File::create(&new)?;
            writeln!(file, "{}", id.to_string())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_dir(dir)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

/// Makes the names in a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_and_a_second_opener_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let first = Journal::open(data.path(), None).unwrap();
        let ids = (first.executor_id, first.journal_id);
        let second = Journal::open(data.path(), None).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        let again = Journal::open(data.path(), None).unwrap();
        assert_eq!((again.executor_id, again.journal_id), ids);
    }

    #[test]
    fn what_was_forgotten_goes_after_some_days() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::open(data.path(), None).unwrap();
        let session = |n| SessionId::from_uuid(Uuid::from_u128(n));
        for n in 1..=4_u32 {
            journal
                .session(session(n.into()))
                .unwrap()
                .raise_epoch(n.into())
                .unwrap();
        }
        let now = SystemTime::now();
        let long_ago = now - JOURNAL_AGE;
        let old = |path: PathBuf| File::options().write(true).open(path).unwrap().set_modified(long_ago);
        // Session 1 long ago, 2 long ago and used since, 3 just now, 4 never.
        for n in 1..=3 {
            journal.forget(session(n)).unwrap();
        }
        for n in 1..=2 {
            old(journal.mark(session(n))).unwrap();
        }
        old(journal.path(session(1))).unwrap();
        // One that never had a journal has nothing to forget.
        journal.forget(session(5)).unwrap();
        assert!(!journal.mark(session(5)).exists());
        let epoch = |n| journal.session(session(n)).unwrap().epoch();
        assert_eq!(journal.sweep(now, |it| it == session(1)).unwrap(), 0);
        assert_eq!(journal.sweep(now, |_| false).unwrap(), 1);
        assert_eq!([1, 2, 3, 4].map(epoch), [0, 2, 3, 4]);
        assert!(!journal.mark(session(1)).exists() && journal.mark(session(3)).exists());
        assert_eq!(journal.sweep(now, |_| false).unwrap(), 0);
    }

    #[test]
    fn a_journal_is_one_executors() {
        let data = tempfile::tempdir().unwrap();
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let open = |id| Journal::open(data.path(), Some(ExecutorId::from_uuid(id)));
        assert_eq!(open(mine).unwrap().executor_id.uuid(), mine);
        assert_eq!(open(other).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open(mine).unwrap().executor_id.uuid(), mine);
    }

    #[test]
    fn a_deleted_journal_is_another_journal_of_the_same_executor() {
        let data = tempfile::tempdir().unwrap();
        let first = Journal::open(data.path(), None).unwrap();
        let (executor, journal) = (first.executor_id, first.journal_id);
        drop(first);
        fs::remove_dir_all(data.path().join("executor/journal")).unwrap();
        let second = Journal::open(data.path(), None).unwrap();
        assert_eq!(second.executor_id, executor);
        assert_ne!(second.journal_id, journal);
    }

    #[test]
    fn a_damaged_identity_is_an_error_not_a_new_one() {
        let data = tempfile::tempdir().unwrap();
        drop(Journal::open(data.path(), None).unwrap());
        fs::write(data.path().join("executor/journal/journal_id"), "jrnl_").unwrap();
        assert_eq!(
            Journal::open(data.path(), None).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
