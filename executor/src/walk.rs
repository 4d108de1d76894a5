//! Walking a workspace for `glob` and `grep`: descriptor by descriptor, following no symlink, leaving out what `.gitignore`
//! files name. An ordinary walker goes by path, where a folder swapped for a symlink leads out, and reads a `.gitignore` that
//! may be a fifo without end.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::call::Stop;
use crate::limits::{DEPTH, IGNORE_BYTES, WALK_ENTRIES};
use crate::workspace::open_regular;

/// A file, or a symlink as such, found on the way.
pub(crate) struct Found<'a> {
    /// The folder it is in.
    pub(crate) dir: &'a Dir,
    /// Its name there.
    pub(crate) name: &'a Path,
    /// Its path relative to where the walk began.
    pub(crate) path: &'a Path,
    pub(crate) meta: &'a Metadata,
}

/// Why a walk did not see everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Entries,
    Depth,
    Stopped,
    /// The visitor had enough.
    Enough,
}

impl Cut {
    /// What the model is told.
    pub(crate) const fn note(self) -> &'static str {
        match self {
            Self::Entries => "[not everything was searched: too many files; give a narrower path]",
            Self::Depth => "[not everything was searched: folders too deep; give a narrower path]",
            Self::Stopped => "[not everything was searched: it took too long; give a narrower path]",
            Self::Enough => "[there is more; narrow the search]",
        }
    }
}

/// Visits every file below `dir`, by name within each folder. The visitor returns `false` when it has enough.
pub(crate) fn walk(dir: &Dir, stop: &Stop, visit: &mut dyn FnMut(&Found<'_>) -> bool) -> Option<Cut> {
    let mut walk = Walk {
        stop,
        visit,
        entries: 0,
        ignores: Vec::new(),
        cut: None,
    };
    walk.folder(dir, Path::new(""), 0);
    walk.cut
}

struct Walk<'a> {
    stop: &'a Stop,
    visit: &'a mut dyn FnMut(&Found<'_>) -> bool,
    entries: usize,
    /// Each with the folder it speaks for, outermost first.
    ignores: Vec<(PathBuf, Gitignore)>,
    cut: Option<Cut>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Dir, path: &Path, depth: usize) {
        let names = self.names(dir);
        let ignore = read_ignore(dir);
        let ignores = self.ignores.len();
        self.ignores.extend(ignore.map(|ignore| (path.to_owned(), ignore)));
        for name in names {
            if self.over() {
                break;
            }
            self.entry(dir, Path::new(&name), &path.join(&name), depth);
        }
        self.ignores.truncate(ignores);
    }

    fn over(&mut self) -> bool {
        if self.stop.now() {
            self.cut = Some(Cut::Stopped);
        }
        matches!(self.cut, Some(Cut::Stopped | Cut::Enough))
    }

    fn names(&mut self, dir: &Dir) -> Vec<OsString> {
        let Ok(entries) = dir.entries() else { return Vec::new() };
        let room = WALK_ENTRIES - self.entries;
        let mut names: Vec<OsString> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .take(room + 1)
            .collect();
        if names.len() > room {
            names.truncate(room);
            self.cut = Some(Cut::Entries);
        }
        self.entries += names.len();
        names.sort_unstable();
        names
    }

    fn entry(&mut self, dir: &Dir, name: &Path, path: &Path, depth: usize) {
        let Ok(meta) = dir.symlink_metadata(name) else { return };
        if name == Path::new(".git") || self.is_ignored(path, meta.is_dir()) {
            return;
        }
        if !meta.is_dir() {
            let found = Found {
                dir,
                name,
                path,
                meta: &meta,
            };
            if !(self.visit)(&found) {
                self.cut = Some(Cut::Enough);
            }
        } else if depth + 1 >= DEPTH {
            self.cut = self.cut.or(Some(Cut::Depth));
        } else if let Ok(inner) = dir.open_dir(name) {
            self.folder(&inner, path, depth + 1);
        }
    }

    /// The innermost file that says anything decides, as in git.
    fn is_ignored(&self, path: &Path, is_dir: bool) -> bool {
        let verdicts = self.ignores.iter().rev().filter_map(|(folder, ignore)| {
            let matched = ignore.matched(path.strip_prefix(folder).ok()?, is_dir);
            (!matched.is_none()).then(|| matched.is_ignore())
        });
        verdicts.into_iter().next().unwrap_or(false)
    }
}

fn read_ignore(dir: &Dir) -> Option<Gitignore> {
    let name = Path::new(".gitignore");
    // Not through a symlink: it could name a file the agent may see but not as a list of patterns; git refuses it too.
    if !dir.symlink_metadata(name).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    open_regular(dir, name)
        .ok()?
        .take(IGNORE_BYTES)
        .read_to_end(&mut text)
        .ok()?;
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(&text).lines() {
        // A line that is no pattern is no reason to search less well.
        let _ = builder.add_line(None, line);
    }
    builder.build().ok()
}
