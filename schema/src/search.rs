//! Looking for files of a machine by their names and by their text, and for its repositories: one look, in a bounded answer.

use serde::{Deserialize, Serialize};

/// Most files of one answer.
pub const MAX_FOUND_FILES: usize = 1_000;
/// Most lines of one answer.
pub const MAX_FOUND_LINES: usize = 2_000;
/// Most bytes of paths and lines in one answer.
pub const MAX_FOUND_TEXT: usize = 512 * 1024;
/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1_024;
/// Most repositories of one answer.
pub const MAX_REPOSITORIES: usize = 200;
/// Longest answer, encoded, in bytes: every character may need six.
pub const MAX_FOUND_BYTES: u64 = 4 << 20;

/// What is looked for. Both, when both are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// A folder: relative to the one that is offered, or absolute and beneath it.
    pub path: String,
    /// Files whose path fits this glob; one without a slash is of the name alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Files with lines that match this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Search {
    /// Whether it is one.
    ///
    /// # Errors
    /// Which part is not, and why.
    pub fn check(&self) -> Result<(), String> {
        if self.name.is_none() && self.text.is_none() {
            return Err("name, text: one of them says what is looked for".into());
        }
        for (what, pattern) in [("name", &self.name), ("text", &self.text)] {
            let Some(pattern) = pattern else { continue };
            if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES || pattern.contains(['\0', '\n']) {
                return Err(format!(
                    "{what}: a pattern is one line of 1 to {MAX_PATTERN_BYTES} bytes"
                ));
            }
        }
        Ok(())
    }
}

/// What was found, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Files; those that git ignores are left out.
    pub files: Vec<FoundFile>,
    /// There is more than is listed, or not everything was looked through.
    pub truncated: bool,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// Relative to the folder that was searched; what is no UTF-8 in it is U+FFFD.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Lines that match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<FoundLine>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundLine {
    /// 1, 2, …
    pub number: u64,
    /// Its beginning, without the line's end.
    pub text: String,
}

/// Repositories of git, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repositories {
    /// Those that were found.
    pub repositories: Vec<Repository>,
    /// Not everything was looked through.
    pub truncated: bool,
}

/// A repository of git with its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Relative to the folder that was looked through; `.` for that itself.
    pub path: String,
    /// The branch that is checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}
