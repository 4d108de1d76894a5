//! One session's journal file: an index in memory, outcomes on disk.
//!
//! A line is written and synced before anybody acts on it. What a crash left behind the last newline was never acted on and is
//! cut off; damage anywhere else is an error, because guessing would run a command twice.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use perennial_schema::EventId;
use perennial_schema::tool::{Builtin, Effect, Outcome};

use super::mark::Mark;
use super::record::{Line, Process, Read, ResultLine, Started, Stored};
use super::sync_dir;

/// A session's journal.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    mark: Arc<Mark>,
    /// Open for writing; none before the first line and after a failed write.
    file: Option<File>,
    /// Bytes of complete lines.
    len: u64,
    epoch: u64,
    calls: HashMap<EventId, Entry>,
    /// Results that could not be written yet: kept here, written before the next line.
    unstored: Vec<Stored>,
    shells: bool,
}

#[derive(Debug)]
struct Entry {
    args_hash: String,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Started { effect: Effect, process: Option<Process> },
    Done { at: u64, len: usize },
    DoneUnstored,
}

/// What the journal knows of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Never,
    /// Its id was used with other arguments.
    OtherArguments,
    Started {
        effect: Effect,
    },
    Done(Outcome),
}

impl JournalFile {
    pub(super) fn load(path: PathBuf, mark: Arc<Mark>) -> io::Result<Self> {
        let mut journal = Self {
            path,
            mark,
            file: None,
            len: 0,
            epoch: 0,
            calls: HashMap::new(),
            unstored: Vec::new(),
            shells: false,
        };
        match File::options().read(true).write(true).open(&journal.path) {
            Ok(file) => journal.replay(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if !journal.mark.is_whole(&journal.path, journal.len) {
            return Err(io::Error::other(
                "a journal stands before what was written into it: start this executor anew",
            ));
        }
        Ok(journal)
    }

    fn replay(&mut self, file: File) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(256 * 1024, &file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if !line.ends_with(b"\n") || line.contains(&0) && reader.fill_buf()?.is_empty() {
                // Half a line, or one whose blocks never reached the disk (they read as zeros): a crash while it was written.
                tracing::warn!(journal.line = number, "cutting a torn line off a journal");
                self.mark.shrinks(file.metadata()?.len() - self.len)?;
                file.set_len(self.len)?;
                file.sync_all()?;
                break;
            }
            let record = serde_json::from_slice(&line).map_err(|error| self.damaged(number, &error))?;
            self.learn(record, read);
            self.len += read as u64;
        }
        drop(reader);
        self.file = Some(file);
        Ok(())
    }

    fn damaged(&self, line: usize, error: &serde_json::Error) -> io::Error {
        let name = self.path.file_name().unwrap_or_default().display();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {line} of the journal {name} is damaged: {error}"),
        )
    }

    fn learn(&mut self, record: Read, len: usize) {
        match record {
            Read::Epoch(epoch) => self.epoch = self.epoch.max(epoch),
            Read::Started(started) => self.learn_started(&started),
            Read::Result(ended) => {
                let state = State::Done { at: self.len, len };
                self.calls.insert(
                    ended.call_id,
                    Entry {
                        args_hash: ended.args_hash,
                        state,
                    },
                );
            }
        }
    }

    fn learn_started(&mut self, started: &Started) {
        self.epoch = self.epoch.max(started.epoch);
        // One in an editor's terminal is no process of ours, and leaves as much behind.
        self.shells |= started.tool == Builtin::Bash.name();
        let state = State::Started {
            effect: started.effect,
            process: started.process,
        };
        let entry = Entry {
            args_hash: started.args_hash.clone(),
            state,
        };
        self.calls.insert(started.call_id, entry);
    }

    /// The highest epoch that has spoken.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a shell ever ran for this session.
    pub(crate) const fn had_shell(&self) -> bool {
        self.shells
    }

    /// Whether everything it knows is on disk.
    pub(crate) const fn is_stored(&self) -> bool {
        self.unstored.is_empty()
    }

    /// Shells of calls that have no result.
    pub(crate) fn unfinished(&self) -> Vec<Process> {
        let process = |entry: &Entry| match entry.state {
            State::Started { process, .. } => process,
            _ => None,
        };
        self.calls.values().filter_map(process).collect()
    }

    /// Looks a call up.
    pub(crate) fn known(&self, call_id: EventId, args_hash: &str) -> io::Result<Known> {
        // A journal that forgets, so that the proof is seen to notice; only in builds with failpoints.
        fail::fail_point!("sabotage.journal", |_| Ok(Known::Never));
        let Some(entry) = self.calls.get(&call_id) else {
            return Ok(Known::Never);
        };
        if entry.args_hash != args_hash {
            return Ok(Known::OtherArguments);
        }
        match entry.state {
            State::Started { effect, .. } => Ok(Known::Started { effect }),
            State::Done { at, len } => self.read_outcome(at, len).map(Known::Done),
            State::DoneUnstored => {
                let stored = self.unstored.iter().find(|stored| stored.call_id == call_id);
                stored.map_or_else(
                    || Err(io::Error::other("a result is missing")),
                    |stored| Ok(Known::Done(stored.outcome.clone())),
                )
            }
        }
    }

    fn read_outcome(&self, at: u64, len: usize) -> io::Result<Outcome> {
        let file = match &self.file {
            Some(file) => file,
            None => &File::open(&self.path)?,
        };
        let mut line = vec![0; len];
        file.read_exact_at(&mut line, at)?;
        let line: ResultLine = serde_json::from_slice(&line)?;
        Ok(line.result.outcome)
    }

    /// Records that a lease with this epoch has spoken. Durable when it returns.
    pub(crate) fn raise_epoch(&mut self, epoch: u64) -> io::Result<()> {
        self.append(&Line::Epoch(epoch))?;
        self.epoch = self.epoch.max(epoch);
        Ok(())
    }

    /// Records that a call is about to act. Durable when it returns.
    pub(crate) fn start(&mut self, started: &Started) -> io::Result<()> {
        self.flush()?;
        self.append(&Line::Started(started))?;
        self.learn_started(started);
        Ok(())
    }

    /// Records what came of a call. When the disk refuses, the result is still known here and written later: the call has
    /// happened, and its caller may as well be told.
    pub(crate) fn finish(&mut self, stored: Stored) -> io::Result<()> {
        let entry = Entry {
            args_hash: stored.args_hash.clone(),
            state: State::DoneUnstored,
        };
        self.calls.insert(stored.call_id, entry);
        self.unstored.push(stored);
        self.flush()
    }

    /// Writes the results that could not be written before.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(stored) = self.unstored.last().cloned() {
            let at = self.len;
            self.append(&Line::Result(&stored))?;
            self.unstored.pop();
            if let Some(entry) = self.calls.get_mut(&stored.call_id) {
                let len = usize::try_from(self.len - at).unwrap_or(usize::MAX);
                entry.state = State::Done { at, len };
            }
        }
        Ok(())
    }

    fn append(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open_for_writing()?,
        };
        let written = file.write_all_at(&bytes, self.len).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // After a failed sync nobody knows what is on disk. The half line goes, the descriptor with it; whoever comes next
            // opens anew and cuts again.
            let _ = file.set_len(self.len).and_then(|()| file.sync_data());
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.mark.grew(&self.path, bytes.len(), self.len);
        self.file = Some(file);
        Ok(())
    }

    fn open_for_writing(&self) -> io::Result<File> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        if file.metadata()?.len() != self.len {
            file.set_len(self.len)?;
        }
        file.sync_all()?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        Ok(file)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
