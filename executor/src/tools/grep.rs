//! `grep`: lines of files that match a regular expression.

use std::io;
use std::path::Path;

use cap_std::fs::File;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use perennial_schema::text::sanitize;
use perennial_schema::tool::GrepInput;

use super::base;
use crate::call::Stop;
use crate::limits::{GREP_HEAP_BYTES, GREP_LINE_BYTES, GREP_LINES, OUTPUT_BYTES};
use crate::walk::walk;
use crate::workspace::{Folder, open_regular};

pub(super) fn run(input: &GrepInput, folder: &Folder, stop: &Stop) -> Result<String, String> {
    let matcher = RegexMatcherBuilder::new()
        .line_terminator(Some(b'\n'))
        .build(&input.pattern)
        .map_err(|error| format!("the pattern cannot be used: {error}"))?;
    let base = base(folder, input.path.as_deref())?;
    let mut grep = Grep {
        matcher,
        searcher: SearcherBuilder::new()
            .line_number(true)
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(GREP_HEAP_BYTES))
            .build(),
        stop,
        text: String::new(),
        lines: 0,
        skipped: 0,
    };
    let cut = match (&base.dir, base.file) {
        (Some(dir), _) => walk(dir, stop, &mut |found| {
            if found.meta.is_file() {
                match open_regular(found.dir, found.name) {
                    Ok(file) => grep.file(&base.path.join(found.path), &file),
                    Err(_) => grep.skipped += 1,
                }
            }
            !grep.is_full()
        }),
        (None, Some(file)) => {
            grep.file(&base.path, &file);
            grep.is_full().then_some(crate::walk::Cut::Enough)
        }
        (None, None) => None,
    };
    Ok(grep.report(cut))
}

struct Grep<'a> {
    matcher: RegexMatcher,
    searcher: Searcher,
    stop: &'a Stop,
    text: String,
    lines: usize,
    skipped: usize,
}

impl Grep<'_> {
    fn is_full(&self) -> bool {
        self.lines >= GREP_LINES || self.text.len() >= OUTPUT_BYTES - 2 * GREP_LINE_BYTES
    }

    fn file(&mut self, path: &Path, file: &File) {
        let Ok(file) = file.try_clone().map(File::into_std) else {
            return;
        };
        let start = (self.text.len(), self.lines);
        let mut lines = Lines {
            path: path.to_string_lossy().replace(['\n', '\0'], "\u{FFFD}"),
            text: std::mem::take(&mut self.text),
            lines: self.lines,
            stop: self.stop,
            binary: false,
        };
        let searched = self.searcher.search_file(&self.matcher, &file, &mut lines);
        (self.text, self.lines) = (lines.text, lines.lines);
        if lines.binary {
            // What matched before the NUL showed is no text either.
            self.text.truncate(start.0);
            self.lines = start.1;
        }
        // Most likely a line larger than the heap; one file is no reason to fail the search.
        self.skipped += usize::from(searched.is_err());
    }

    fn report(mut self, cut: Option<crate::walk::Cut>) -> String {
        if self.text.is_empty() {
            self.text.push_str("[no match]\n");
        }
        if self.skipped > 0 {
            self.text
                .push_str(&format!("[{} files could not be searched]\n", self.skipped));
        }
        if let Some(cut) = cut {
            self.text.push_str(cut.note());
            self.text.push('\n');
        }
        self.text
    }
}

/// Collects the lines of one file.
struct Lines<'a> {
    path: String,
    text: String,
    lines: usize,
    stop: &'a Stop,
    binary: bool,
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let line = found.bytes().strip_suffix(b"\n").unwrap_or(found.bytes());
        let cut = &line[..line.len().min(GREP_LINE_BYTES)];
        let number = found.line_number().unwrap_or_default();
        let more = if cut.len() < line.len() { "…" } else { "" };
        self.text
            .push_str(&format!("{}:{number}:{}{more}\n", self.path, sanitize(cut)));
        self.lines += 1;
        let full = self.lines >= GREP_LINES || self.text.len() >= OUTPUT_BYTES - 2 * GREP_LINE_BYTES;
        Ok(!full && !self.stop.now())
    }

    fn binary_data(&mut self, _searcher: &Searcher, _at: u64) -> io::Result<bool> {
        self.binary = true;
        Ok(false)
    }
}
