//! How the end of a command in an editor's terminal reads.

use std::time::Duration;

use perennial_schema::tool::{Outcome, Whole};

use crate::tools::bash::lines;

/// What came of a command.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// What was printed.
    pub(super) output: String,
    pub(super) whole: Option<Whole>,
    pub(super) remarks: Vec<String>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    Killed(String),
    /// It did, and nobody says how.
    Untold,
    TimedOut(Duration),
    Cancelled(&'static str),
    /// For certain.
    NotBegun(String),
    /// It began, and its end is not known; dead: it does not run any more.
    Unknown {
        why: String,
        dead: bool,
    },
}

/// The outcome that a model reads; `note` tells about a fresh start.
pub(super) fn outcome(note: Option<&str>, finished: &Finished, end: &End) -> Outcome {
    let ended = describe(end);
    let remarks = finished.remarks.iter().map(String::as_str);
    let parts = note
        .into_iter()
        .chain([finished.output.as_str()])
        .chain(ended.as_deref())
        .chain(remarks);
    let (exit_code, failed) = match end {
        End::Exited(code) => (Some(*code), *code != 0),
        _ => (None, true),
    };
    Outcome {
        whole: finished.whole,
        exit_code,
        ..Outcome::text(lines(parts), failed)
    }
}

fn describe(end: &End) -> Option<String> {
    Some(match end {
        End::Exited(0) => return None,
        End::Exited(code) => format!("[exit code {code}]"),
        End::Killed(signal) => format!("[killed by signal {signal}]"),
        End::Untold => "[it ended, and the editor does not say with which exit code]".into(),
        End::TimedOut(time) => format!(
            "[timed out after {} ms: the command and all it started were killed]",
            time.as_millis()
        ),
        End::Cancelled(why) => format!("[cancelled ({why}): the command and all it started were killed]"),
        End::NotBegun(why) => format!("[the command was not begun: {why}]"),
        End::Unknown { why, dead: true } => format!("[{why}; the command was killed, what it had done is unknown]"),
        End::Unknown { why, dead: false } => {
            format!("[{why}; what the command did, and whether it still runs, is unknown]")
        }
    })
}
