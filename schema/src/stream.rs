//! Further streams of a tunnel: what a server opens one for, and what the executor says to that. After both, bytes of whatever
//! was agreed on travel, without frames (DESIGN §8).
//!
//! Who opened a stream ends it by letting go of it, and the executor then ends what it does for it. A stream that breaks looks
//! like one that ends, so whatever must be complete says its length before it or a word after it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::frame::Workspace;
use crate::search::Search;
use crate::tool::Builtin;
use crate::{Secret, SessionId};

/// What is spoken here. It grows when an older executor could not understand a newer server; a purpose or a field more does not
/// count.
pub const STREAM_VERSION: u32 = 1;
/// Longest [`Opening`], [`Answer`] or [`Word`], encoded, in bytes.
pub const MAX_OPENING_BYTES: usize = 16 * 1024;
/// Longest path of a file, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;
/// Largest file that is sent or fetched, in bytes.
pub const MAX_FILE_BYTES: u64 = 8 << 30;
/// Longest line of a server's output, in bytes: one of its messages.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;
/// What a server's command, arguments and variables may have, in bytes: an [`Opening`] has room for them.
pub const MAX_SERVER_BYTES: usize = 8 * 1024;
/// Longest name of a terminal.
pub const MAX_TERMINAL_NAME_BYTES: usize = 64;

/// What a server says first on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// [`STREAM_VERSION`] of its build.
    pub version: u32,
    /// What it wants.
    pub purpose: Purpose,
}

impl Opening {
    /// In the version that is spoken here.
    #[must_use]
    pub const fn of(purpose: Purpose) -> Self {
        Self {
            version: STREAM_VERSION,
            purpose,
        }
    }
}

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Fetch a file: as many bytes as the answer says follow.
    ReadFile {
        /// Relative to the folder that is offered, or absolute and beneath it.
        path: String,
    },
    /// Look at a folder: as many bytes as the answer says follow, a [`Listing`](crate::folder::Listing) as JSON.
    ListFolder {
        /// As above.
        path: String,
    },
    /// Look for files: as many bytes as the answer says follow, a [`Found`](crate::search::Found) as JSON.
    Search(Search),
    /// Look for repositories of git: the same, [`Repositories`](crate::search::Repositories).
    ListRepositories {
        /// As above.
        path: String,
    },
    /// Store a file: its bytes follow, and one [`Word`] is said to them.
    WriteFile {
        /// As above. Folders on the way are made.
        path: String,
        /// How many.
        bytes: u64,
    },
    /// Connect to a TCP port of the machine's own loopback address: bytes both ways.
    Forward {
        /// Which.
        port: u16,
    },
    /// Attach to a shell on a terminal, which is started if there is none of that name. [`crate::terminal`] says what travels.
    Terminal {
        /// `[A-Za-z0-9_-]`, at most [`MAX_TERMINAL_NAME_BYTES`].
        name: String,
        /// Its size.
        size: TerminalSize,
    },
    /// Start a program whose input are the bytes that follow, until the server lets go; the executor says what it prints, and how it
    /// ended.
    Server(Box<ServerStart>),
}

/// A program to be started: an MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStart {
    /// Whose.
    pub session: SessionId,
    /// In which folder.
    pub workspace: Workspace,
    /// A program by its name or its path.
    pub command: String,
    /// Its arguments, which no shell reads.
    pub args: Vec<String>,
    /// Variables beside those that every program there has. Not recorded anywhere.
    pub env: IndexMap<String, Secret>,
}

impl Purpose {
    /// The tool that could do as much: who offers that tool offers this.
    #[must_use]
    pub const fn tool(&self) -> Builtin {
        match self {
            Self::ReadFile { .. } => Builtin::Read,
            Self::ListFolder { .. } | Self::ListRepositories { .. } => Builtin::Glob,
            Self::Search(Search { text: None, .. }) => Builtin::Glob,
            Self::Search(_) => Builtin::Grep,
            Self::WriteFile { .. } => Builtin::Write,
            // A command could connect to whatever listens there.
            Self::Forward { .. } | Self::Terminal { .. } | Self::Server(_) => Builtin::Bash,
        }
    }

    /// In words, for an owner who is asked.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::ReadFile { path } => format!("fetch the file {path}"),
            Self::ListFolder { path } => format!("look at the folder {path}"),
            Self::Search(Search { path, name, text }) => {
                let said = [name, text].into_iter().flatten().cloned().collect::<Vec<_>>();
                format!("look in the folder {path} for {}", said.join(", "))
            }
            Self::ListRepositories { path } => format!("look for repositories in the folder {path}"),
            Self::WriteFile { path, bytes } => format!("store {bytes} bytes in the file {path}"),
            Self::Forward { port } => format!("connect to port {port} of this machine"),
            Self::Terminal { name, .. } => format!("type into a shell (terminal {name})"),
            Self::Server(start) => {
                let words: Vec<&str> = std::iter::once(&start.command)
                    .chain(&start.args)
                    .map(String::as_str)
                    .collect();
                format!("start the MCP server {words:?}")
            }
        }
    }
}

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters across.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What an executor says to an opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Go on.
    Open {
        /// How many bytes a file has that is fetched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// No; the stream ends.
    Refused {
        /// Why, for a program.
        reason: Unopened,
        /// Why, for a person.
        message: String,
    },
}

/// Why an executor does not go on with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unopened {
    /// Its owner does not offer that.
    NotOffered,
    /// There is no such thing, or nobody listens there.
    NotFound,
    /// It is a folder, and no file.
    IsFolder,
    /// It is there and cannot be used like that.
    Unusable,
    /// Too many of these at once.
    Busy,
    /// It does not know such a purpose: it is older than the server.
    Unknown,
    /// Something went wrong there.
    #[serde(other)]
    Failed,
}

/// What an executor says after the last byte of a file that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It is on disk, under its name.
    Stored,
    /// It is not.
    Failed {
        /// Why, for a person.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executors and servers are upgraded apart.
    #[test]
    fn openings_and_answers_are_what_they_were() {
        let opening = Opening::of(Purpose::WriteFile {
            path: "a/b".into(),
            bytes: 3,
        });
        let text = r#"{"version":1,"purpose":{"write_file":{"path":"a/b","bytes":3}}}"#;
        assert_eq!(serde_json::to_string(&opening).unwrap(), text);
        assert_eq!(serde_json::from_str::<Opening>(text).unwrap(), opening);
        let answer: Answer =
            serde_json::from_str(r#"{"refused":{"reason":"of_a_later_release","message":"no"}}"#).unwrap();
        assert!(
            matches!(
                answer,
                Answer::Refused {
                    reason: Unopened::Failed,
                    ..
                }
            ),
            "{answer:?}"
        );
        assert_eq!(
            serde_json::from_str::<Answer>(r#"{"open":{}}"#).unwrap(),
            Answer::Open { bytes: None }
        );
    }
}
