//! What a journal is called, and for how long.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use perennial_schema::{ExecutorId, JournalId};
use uuid::Uuid;

use super::mark::{self, Mark, Note, Whose};
use super::sync_dir;

/// The file with the id.
const FILE: &str = "journal_id";

/// Under which id a journal goes on.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) journal_id: JournalId,
    /// What it was called in earlier lives.
    pub(super) earlier: Vec<JournalId>,
    note: Option<Note>,
}

impl Name {
    /// It stays the same only while a note vouches that nothing is missing.
    ///
    /// The id is inside the folder it names: who deletes the memory deletes its name with it.
    pub(super) fn find(dir: &Path, mark: &Mark, executor: ExecutorId, memory: Option<&Path>) -> io::Result<Self> {
        let kept: Option<JournalId> = read_id(dir, FILE)?;
        if let Some(memory) = memory {
            mark::tidy(memory);
        }
        let note = memory.map_or(Ok(None), |memory| Note::open(memory, executor));
        // Without memory to note it in, every life is a journal of its own.
        let note = note.unwrap_or_else(|error| {
            tracing::warn!(%error, "how far the journal has come is not noted");
            None
        });
        let told = note.as_ref().map_or(Ok(None), Note::read)?;
        let whole = told.as_ref().is_some_and(|(whose, bytes)| {
            Some(whose.journal_id) == kept && whose.dir == dir && vouches(*bytes, mark.bytes())
        });
        let mut earlier: Vec<JournalId> = kept.into_iter().collect();
        earlier.extend(
            told.map(|(whose, _)| whose.journal_id)
                .filter(|told| Some(*told) != kept),
        );
        let journal_id = kept
            .filter(|_| whole)
            .unwrap_or_else(|| JournalId::from_uuid(Uuid::now_v7()));
        if kept.is_some_and(|kept| kept != journal_id) {
            tracing::info!(journal.id = %journal_id, "nobody vouches that the journal is whole: it goes on under another id");
        }
        Ok(Self {
            journal_id,
            earlier,
            note,
        })
    }

    /// Makes it the folder's own, and from then on notes how far that comes.
    pub(super) fn keep(&mut self, dir: &Path, mark: &Mark) -> io::Result<()> {
        if read_id(dir, FILE)? != Some(self.journal_id) {
            write_id(dir, FILE, &self.journal_id)?;
        }
        if let Some(note) = self.note.take() {
            let (journal_id, dir) = (self.journal_id, dir.to_owned());
            match note.begin(&Whose { journal_id, dir }, mark.bytes()) {
                Ok(()) => mark.note(note),
                Err(error) => {
                    tracing::warn!(%error, "how far the journal has come is not noted");
                    note.remove();
                }
            }
        }
        Ok(())
    }
}

/// Whether a journal that has come so far may be the one that is noted to have come that far.
fn vouches(noted: u64, found: u64) -> bool {
    // A note that vouches for everything, so that the rig is seen to notice; only in builds with failpoints.
    fail::fail_point!("sabotage.note", |_| true);
    noted <= found
}

/// Reads an id, or makes one that is there completely or not at all.
pub(super) fn identity<T: FromStr + ToString>(dir: &Path, name: &str, make: impl FnOnce() -> T) -> io::Result<T> {
    if let Some(id) = read_id(dir, name)? {
        return Ok(id);
    }
    let id = make();
    write_id(dir, name, &id)?;
    Ok(id)
}

fn read_id<T: FromStr>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no valid id", path.display()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_id(dir: &Path, name: &str, id: &impl ToString) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    writeln!(file, "{}", id.to_string())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}
