//! Files by their names and by their text: beneath the folders that are offered, by descriptors (S17).

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::File;
use globset::{GlobBuilder, GlobMatcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use perennial_schema::search::{Found, FoundFile, FoundLine, MAX_FOUND_FILES, MAX_FOUND_LINES, MAX_FOUND_TEXT, Search};
use perennial_schema::stream::Unopened;
use perennial_schema::text::sanitize;
use perennial_tunnel::Lane;

use super::Refused;
use super::files::beneath;
use super::folder::answer;
use crate::call::Stop;
use crate::limits::{GREP_HEAP_BYTES, GREP_LINE_BYTES, LOOK_TIME, PATTERN_BYTES};
use crate::serve::House;
use crate::walk::walk;
use crate::workspace::{Folder, explain, open_regular};

/// Says what was found.
pub(super) async fn search(house: &Arc<House>, search: Search, lane: &mut Lane) -> Result<(), Refused> {
    let wrong = |why| Refused::new(Unopened::Unusable, why);
    search.check().map_err(wrong)?;
    let finding = Finding::new(&search).map_err(wrong)?;
    let found = beneath(house, search.path, |folder, path| finding.run(folder, path)).await;
    answer(lane, &found.map_err(|why| Refused::new(Unopened::NotFound, why))?).await
}

struct Finding {
    name: Option<GlobMatcher>,
    text: Option<RegexMatcher>,
    searcher: Searcher,
    stop: Stop,
    found: Found,
    lines: usize,
    bytes: usize,
}

impl Finding {
    fn new(search: &Search) -> Result<Self, String> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| format!("{what}: the pattern cannot be used: {error}");
        let name = search.name.as_ref().map(|pattern| {
            let anywhere = if pattern.contains('/') { "" } else { "**/" };
            let glob = GlobBuilder::new(&format!("{anywhere}{pattern}"))
                .literal_separator(true)
                .build();
            glob.map(|glob| glob.compile_matcher())
                .map_err(|error| wrong("name", &error))
        });
        let text = search.text.as_ref().map(|pattern| {
            let matcher = RegexMatcherBuilder::new()
                .line_terminator(Some(b'\n'))
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES)
                .build(pattern);
            matcher.map_err(|error| wrong("text", &error))
        });
        Ok(Self {
            name: name.transpose()?,
            text: text.transpose()?,
            searcher: SearcherBuilder::new()
                .line_number(true)
                .binary_detection(BinaryDetection::quit(0))
                .heap_limit(Some(GREP_HEAP_BYTES))
                .build(),
            stop: Stop::within(LOOK_TIME),
            found: Found::default(),
            lines: 0,
            bytes: 0,
        })
    }

    /// Blocks.
    fn run(mut self, folder: &Folder, path: &str) -> Result<Found, String> {
        let relative = folder.relative(path)?;
        let dir = folder.dir.open_dir(relative).map_err(|error| explain(path, &error))?;
        let stop = self.stop.clone();
        let cut = walk(&dir, &stop, &mut |file| {
            let fits = self.name.as_ref().is_none_or(|name| name.is_match(file.path));
            if fits && file.meta.is_file() {
                if self.text.is_none() {
                    self.push(file.path, file.meta.len(), Vec::new());
                } else if let Ok(opened) = open_regular(file.dir, file.name) {
                    self.file(file.path, file.meta.len(), &opened);
                }
            }
            !self.is_full()
        });
        self.found.truncated |= cut.is_some();
        self.found.files.sort_by(|one, two| one.path.cmp(&two.path));
        Ok(self.found)
    }

    fn is_full(&self) -> bool {
        self.found.files.len() >= MAX_FOUND_FILES || self.lines >= MAX_FOUND_LINES || self.bytes >= MAX_FOUND_TEXT
    }

    fn file(&mut self, path: &Path, bytes: u64, file: &File) {
        let (Some(matcher), Ok(file)) = (&self.text, file.try_clone().map(File::into_std)) else {
            return;
        };
        let mut lines = Lines {
            lines: Vec::new(),
            room: MAX_FOUND_LINES - self.lines,
            stop: &self.stop,
            binary: false,
        };
        let searched = self.searcher.search_file(matcher, &file, &mut lines);
        // Most likely a line larger than the heap: one file is no reason to fail.
        self.found.truncated |= searched.is_err();
        if !lines.binary && !lines.lines.is_empty() {
            self.push(path, bytes, lines.lines);
        }
    }

    fn push(&mut self, path: &Path, bytes: u64, lines: Vec<FoundLine>) {
        let path = path.to_string_lossy().into_owned();
        self.lines += lines.len();
        self.bytes += path.len() + lines.iter().map(|line| line.text.len()).sum::<usize>();
        self.found.files.push(FoundFile { path, bytes, lines });
    }
}

/// Collects the lines of one file.
struct Lines<'a> {
    lines: Vec<FoundLine>,
    room: usize,
    stop: &'a Stop,
    binary: bool,
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let line = found.bytes().strip_suffix(b"\n").unwrap_or(found.bytes());
        self.lines.push(FoundLine {
            number: found.line_number().unwrap_or_default(),
            text: sanitize(&line[..line.len().min(GREP_LINE_BYTES)]),
        });
        Ok(self.lines.len() < self.room && !self.stop.now())
    }

    fn binary_data(&mut self, _searcher: &Searcher, _at: u64) -> io::Result<bool> {
        self.binary = true;
        Ok(false)
    }
}
