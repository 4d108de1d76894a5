//! `glob`: files by name, newest first.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};
use perennial_schema::tool::GlobInput;

use super::base;
use crate::call::Stop;
use crate::limits::{GLOB_FILES, OUTPUT_BYTES};
use crate::walk::walk;
use crate::workspace::Folder;

pub(super) fn run(input: &GlobInput, folder: &Folder, stop: &Stop) -> Result<String, String> {
    // An absolute pattern inside the folder means what its rest means.
    let inside = Path::new(&input.pattern)
        .strip_prefix(&folder.path)
        .ok()
        .and_then(Path::to_str);
    let matcher = matcher(inside.unwrap_or(&input.pattern))?;
    let base = base(folder, input.path.as_deref())?;
    let dir = base
        .dir
        .ok_or_else(|| format!("{}: is not a directory", base.path.display()))?;
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    let cut = walk(&dir, stop, &mut |file| {
        if matcher.is_match(file.path) {
            let modified = file
                .meta
                .modified()
                .map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std);
            found.push((modified, base.path.join(file.path)));
        }
        true
    });
    found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(listing(&found, cut.map(crate::walk::Cut::note)))
}

fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("the pattern cannot be used: {error}"))
}

fn listing(found: &[(SystemTime, PathBuf)], note: Option<&str>) -> String {
    let mut text = String::new();
    let mut shown = 0;
    for (_, path) in found.iter().take(GLOB_FILES) {
        let line = path.to_string_lossy().replace(['\n', '\0'], "\u{FFFD}");
        if text.len() + line.len() + 1 > OUTPUT_BYTES {
            break;
        }
        text.push_str(&line);
        text.push('\n');
        shown += 1;
    }
    if found.is_empty() {
        text.push_str("[no file matches]\n");
    } else if shown < found.len() {
        text.push_str(&format!("[the newest {shown} of {} files]\n", found.len()));
    }
    if let Some(note) = note {
        text.push_str(note);
        text.push('\n');
    }
    text
}
