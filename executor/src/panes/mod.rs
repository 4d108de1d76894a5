//! Commands in the terminals of an editor, which starts them and shows them to whoever sits there. What is run, and what came of it, is
//! ours as in a shell of our own ([`crate::shell`]): the folder, the environment, the sandbox, the journal, the bounds.
//!
//! The editor is believed in what only it knows, which is what was printed and that something ended; not in whether a command began or
//! is dead. A command begins by making a file that can be made once ([`script`]): so one that the editor is late with, or starts again,
//! is not run, and it is known for certain whether one was. What is to be dead is found by its mark and killed (decision 0006).
//!
//! What differs from a shell of our own: each command has a process of its own, so folder and exported variables are handed on to the
//! next and nothing else is; what is left running ends with its command; of long output the editor keeps the end; and others than the
//! editor see what is printed when it is over.

mod outcome;
mod run;
mod script;

use std::fmt::Debug;
use std::path::PathBuf;

use perennial_schema::{EventId, SessionId};

use crate::buffers::Later;

pub(crate) use self::run::{Job, Run};
pub(crate) use self::script::{Kept, Scripts};

/// A program for an editor to start. None of its words needs quotes: some editors start it, others hand the words to a shell, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Beside the editor's own environment: what processes are found by. Nothing secret.
    pub env: Vec<(&'static str, String)>,
    /// Where it is started.
    pub folder: PathBuf,
    /// How much of what it prints is to be kept, in bytes; the end of it.
    pub output_bytes: u64,
}

/// How a program ended, as far as the editor says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// None when it was killed.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<String>,
}

/// What a program has printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// As text.
    pub text: String,
    /// The beginning is missing.
    pub truncated: bool,
}

/// An answer of the editor, or why there is none.
pub type Answer<'a, T> = Later<'a, Result<T, String>>;

/// An editor with terminals. How long it may take is bounded by who asks.
pub trait Panes: Debug + Send + Sync {
    /// Whether it has this session open: it knows no others. Commands of those run in a shell of our own.
    fn has(&self, session: SessionId) -> Later<'_, bool>;

    /// Starts a program in a new terminal and says which one that is. The editor may take its time: it may ask somebody.
    fn create(&self, session: SessionId, program: Program) -> Answer<'_, String>;

    /// Shows the terminal with the call that it is about; answered when that is told. Before it is released.
    fn show<'a>(&'a self, session: SessionId, call: EventId, pane: &'a str) -> Later<'a, ()>;

    /// Waits until the program has ended.
    fn wait<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, Status>;

    /// What it has printed so far.
    fn output<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, Printed>;

    /// Kills the program.
    fn kill<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, ()>;

    /// Gives the terminal back; what is shown of it stays.
    fn release<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, ()>;
}
