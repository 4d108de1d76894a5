//! What goes wrong in a client verb, in words that say what to do about it.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::exit::Exit;

/// A verb that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused.
    #[error("{message} ({kind}, HTTP {status}{})", request(.request_id))]
    Api {
        /// HTTP status.
        status: u16,
        /// The API's error type.
        kind: String,
        /// The API's message.
        message: String,
        /// For the server's log.
        request_id: Option<String>,
    },
    /// No way to find a server.
    #[error(
        "no server found: nothing runs on the data directory {}\nstart one with `perennial up`, or set PERENNIAL_URL and PERENNIAL_KEY to use another one",
        .data_dir.display()
    )]
    NoServer {
        /// Where one would have left its address.
        data_dir: PathBuf,
    },
    /// A URL without a key.
    #[error("no key for {url}: set PERENNIAL_KEY (or PERENNIAL_KEY_FILE)")]
    NoKey {
        /// The server.
        url: String,
    },
    /// It does not answer.
    #[error("the server at {url} does not answer{hint}")]
    Unreachable {
        /// The server.
        url: String,
        /// The command that helps, if we know one.
        hint: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// It answers something else than the API.
    #[error("the server's answer to {what} is not understood: {detail}")]
    Answer {
        /// Which request.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Wrong usage that clap cannot see.
    #[error("{0}")]
    Usage(String),
    /// Anything else a verb has to say.
    #[error("{0}")]
    Failed(String),
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Files, terminal.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn request(id: &Option<String>) -> String {
    id.as_ref().map_or_else(String::new, |id| format!(", {id}"))
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// HTTP status of an API error.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whoever read our output is gone.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code it means.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// An error and its causes, without repeating what a cause already said.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
