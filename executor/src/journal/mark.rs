//! How far a journal has come: a number that only grows, kept where its folder is and noted a second time in memory that lives as
//! long as the machine is up. A folder that was put back to older state has come less far than the note says, and a machine
//! that was started anew has no note: either way nobody can say any more that what the journal does not know never began.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use perennial_schema::{ExecutorId, JournalId};
use serde::{Deserialize, Serialize};

use super::{JOURNAL, sync_dir};

/// Bytes that are not in the folder any more, so that the number never shrinks.
const GONE: &str = "gone";
/// Notes are called so, and then as their executor.
const NOTE: &str = "perennial-";
/// Longest note that is read.
const NOTE_BYTES: u64 = 64 * 1024;
/// Digits of the number at the beginning of a note.
const DIGITS: usize = 20;

/// The mark of a journal's folder.
#[derive(Debug)]
pub(super) struct Mark {
    dir: PathBuf,
    /// Held open, so that its number is no other folder's.
    folder: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// All that was ever written.
    bytes: u64,
    /// Of it, what is not there any more.
    gone: u64,
    /// Where files end that this life has written.
    ends: HashMap<PathBuf, u64>,
    note: Option<Note>,
}

impl Mark {
    /// Looks at how far the journal in a folder has come.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let gone = match fs::read_to_string(dir.join(GONE)) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file with the bytes gone is damaged"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut bytes = gone;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|end| end == JOURNAL) {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            folder: File::open(dir)?,
            state: Mutex::new(State {
                bytes,
                gone,
                ends: HashMap::new(),
                note: None,
            }),
        })
    }

    /// How far that is.
    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// From now on, whatever is written is noted there too.
    pub(super) fn note(&self, note: Note) {
        let mut state = self.state();
        state.note = Some(note);
        state.tell();
    }

    /// A file got so many bytes more, on disk, and ends there now.
    pub(super) fn grew(&self, file: &Path, by: usize, end: u64) {
        let mut state = self.state();
        match state.ends.get_mut(file) {
            Some(known) => *known = end,
            None => {
                state.ends.insert(file.to_owned(), end);
            }
        }
        state.bytes += by as u64;
        state.tell();
    }

    /// Whether a file that ends there may be all of what this life has written.
    pub(super) fn is_whole(&self, file: &Path, end: u64) -> bool {
        self.state().ends.get(file).is_none_or(|known| *known <= end)
    }

    /// A file is about to go.
    pub(super) fn goes(&self, file: &Path) -> io::Result<()> {
        self.shrinks(fs::metadata(file)?.len())?;
        self.state().ends.remove(file);
        Ok(())
    }

    /// So many bytes are about to go.
    pub(super) fn shrinks(&self, by: u64) -> io::Result<()> {
        let mut state = self.state();
        state.gone += by;
        let new = self.dir.join("gone.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{}", state.gone)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(GONE))?;
        sync_dir(&self.dir)
    }

    /// Whether the folder under its name is the one that was opened.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        let (opened, named) = (self.folder.metadata()?, fs::metadata(&self.dir)?);
        Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A note that cannot be written is worth nothing any more, and goes.
    fn tell(&mut self) {
        let Some(note) = &self.note else { return };
        if let Err(error) = note.write(self.bytes) {
            tracing::warn!(%error, "how far the journal has come is not noted any more");
            note.remove();
            self.note = None;
        }
    }
}

/// Where a mark is noted in memory.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    file: File,
}

/// Whose it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whose {
    pub(super) journal_id: JournalId,
    /// The journal's folder.
    pub(super) dir: PathBuf,
}

impl Note {
    /// Opens the note of an executor, if `memory` is a folder in memory and the note can be nobody else's.
    pub(super) fn open(memory: &Path, executor: ExecutorId) -> io::Result<Option<Self>> {
        let path = memory.join(format!("{NOTE}{executor}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)?;
        let meta = file.metadata()?;
        let ours = meta.is_file() && meta.nlink() == 1 && meta.uid() == nix::unistd::geteuid().as_raw();
        let fleeting = fstatfs(&file)?.filesystem_type() == TMPFS_MAGIC;
        if !fleeting && ours && meta.len() == 0 {
            fs::remove_file(&path)?;
        }
        Ok((ours && fleeting).then_some(Self { path, file }))
    }

    /// How far whose journal had come; none in one that is new, or was not finished.
    pub(super) fn read(&self) -> io::Result<Option<(Whose, u64)>> {
        let mut told = Vec::new();
        (&self.file).take(NOTE_BYTES).read_to_end(&mut told)?;
        let told = String::from_utf8_lossy(&told);
        let told = told.split_once('\n').and_then(|(digits, whose)| {
            let bytes = digits.parse().ok()?;
            Some((serde_json::from_str(whose).ok()?, bytes))
        });
        Ok(told)
    }

    /// Begins it anew.
    pub(super) fn begin(&self, whose: &Whose, bytes: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        let text = format!("{bytes:0DIGITS$}\n{}", serde_json::to_string(whose)?);
        self.file.write_all_at(text.as_bytes(), 0)
    }

    fn write(&self, bytes: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{bytes:0DIGITS$}").as_bytes(), 0)
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the notes of journals that are not there any more.
pub(super) fn tidy(memory: &Path) {
    for entry in fs::read_dir(memory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(executor) = name.to_str().and_then(|name| name.strip_prefix(NOTE)?.parse().ok()) else {
            continue;
        };
        // Not one that somebody begins at this moment.
        let told = Note::open(memory, executor).and_then(|note| note.map_or(Ok(None), |note| note.read()));
        if let Ok(Some((whose, _))) = told
            && !whose.dir.exists()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const EXECUTOR: ExecutorId = ExecutorId::from_uuid(Uuid::from_u128(1));

    fn whose(dir: &Path) -> Whose {
        Whose {
            journal_id: JournalId::from_uuid(Uuid::from_u128(2)),
            dir: dir.to_owned(),
        }
    }

    /// A folder in memory, if this machine has one.
    fn memory() -> Option<tempfile::TempDir> {
        let made = tempfile::tempdir_in("/dev/shm").ok()?;
        let note = Note::open(made.path(), EXECUTOR).unwrap();
        note.is_some().then_some(made)
    }

    #[test]
    fn the_mark_only_grows() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.jsonl"), "12345").unwrap();
        fs::write(dir.path().join("b.forgotten"), "12345").unwrap();
        let mark = Mark::open(dir.path()).unwrap();
        assert_eq!(mark.bytes(), 5);
        let file = dir.path().join("a.jsonl");
        assert!(mark.is_whole(&file, 0), "this life has not written it");
        mark.grew(&file, 3, 8);
        assert!(mark.is_whole(&file, 8) && mark.is_whole(&file, 9) && !mark.is_whole(&file, 7));
        fs::write(&file, "12345678").unwrap();
        mark.goes(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(mark.is_whole(&file, 0));
        assert_eq!((mark.bytes(), Mark::open(dir.path()).unwrap().bytes()), (8, 8));
        fs::write(dir.path().join(GONE), "eight").unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_written_is_in_the_note_at_once() {
        let Some(memory) = memory() else {
            return println!("NOT RUN: no folder in memory");
        };
        let dir = tempfile::tempdir().unwrap();
        let read = || Note::open(memory.path(), EXECUTOR).unwrap().unwrap().read().unwrap();
        assert_eq!(read(), None);
        let mark = Mark::open(dir.path()).unwrap();
        let note = Note::open(memory.path(), EXECUTOR).unwrap().unwrap();
        note.begin(&whose(dir.path()), 0).unwrap();
        mark.note(note);
        for bytes in [7, 20] {
            mark.grew(Path::new("a"), bytes, 0);
        }
        assert_eq!(read(), Some((whose(dir.path()), 27)));
        tidy(memory.path());
        assert!(read().is_some());
        drop(dir);
        tidy(memory.path());
        assert_eq!(fs::read_dir(memory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_note_on_a_disk_or_behind_a_link_is_none() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let kind = fstatfs(File::open(disk.path()).unwrap()).unwrap().filesystem_type();
        if kind != TMPFS_MAGIC {
            assert!(Note::open(disk.path(), EXECUTOR).unwrap().is_none());
            assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
        }
        let Some(memory) = memory() else { return };
        let name = memory.path().join(format!("{NOTE}{EXECUTOR}"));
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink("elsewhere", &name).unwrap();
        Note::open(memory.path(), EXECUTOR).unwrap_err();
    }

    #[test]
    fn another_folder_under_the_same_name_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal");
        fs::create_dir(&journal).unwrap();
        let mark = Mark::open(&journal).unwrap();
        assert!(mark.is_in_place().unwrap());
        fs::rename(&journal, dir.path().join("away")).unwrap();
        mark.is_in_place().unwrap_err();
        fs::create_dir(&journal).unwrap();
        assert!(!mark.is_in_place().unwrap());
    }
}
