//! Executor frames: what a router and an executor say to each other, over an in-memory channel, a unix socket or a tunnel.
//! The transport is the only difference (DESIGN §8).
//!
//! The executor's key for a call is `(session, call_id)`. It keeps a high-water mark of epochs per session and refuses older
//! ones (I4). It records `started` and `result` durably before it acts on either.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::event::Raw;
use crate::secret::Secret;
use crate::tool::{Effect, Outcome};
use crate::{EventId, ExecutorId, JournalId, PackId, SessionId, Timestamp};

/// Largest encoded frame, in bytes; a longer one closes the link.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// What is spoken here. It grows when an older router could not understand a newer executor; a field more does not count.
pub const PROTOCOL_VERSION: u32 = 1;

/// In the answer to an executor that dials with a token of an executor that is not there (any more).
pub const REMOVED: &str = "executor_unknown";

/// Router → executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToExecutor {
    /// Run this call; if it is already known, attach to it or return its stored result.
    Call(Call),
    /// What became of this call? Never starts it.
    Settle(Settle),
    /// Stop this call if it runs. A bare disconnect never cancels.
    Cancel {
        /// Session of the call.
        session: SessionId,
        /// Epoch of the lease that speaks.
        epoch: u64,
        /// Which call.
        call_id: EventId,
    },
    /// The session was deleted: its shell may go.
    Forget {
        /// Which session.
        session: SessionId,
    },
    /// Copy one session's workspace folder to another's, which must not exist yet (fork).
    CopyWorkspace {
        /// Source.
        from: SessionId,
        /// Destination.
        to: SessionId,
    },
    /// A piece of a long output ([`crate::tool::Whole`]).
    ReadOutput {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// From this byte on.
        offset: u64,
    },
    /// A long output is stored elsewhere: the executor's copy may go.
    DropOutput {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
    },
    /// About a packed workspace folder.
    Pack {
        /// Chosen by who asks; the same question about the same pack has one effect.
        pack: PackId,
        /// What about it.
        ask: PackAsk,
    },
    /// Look at your machine again: the card follows in a hello. Only for those whose card says when they looked.
    Probe,
    /// Are you there?
    Ping {
        /// Echoed.
        nonce: u64,
    },
    /// The link ends, and not by accident. Only said over tunnels.
    Dismissed {
        /// Why.
        reason: Dismissal,
    },
}

/// Why a router lets go of an executor that dialled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Dismissal {
    /// A newer connection has its place.
    Replaced,
    /// It was removed from its workspace.
    Removed,
    /// It introduced itself as another executor than its token says, or not at all.
    Stranger,
    /// It speaks a newer protocol than this router.
    TooNew {
        /// The newest this router knows.
        newest: u32,
    },
}

/// A call to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Session of the call.
    pub session: SessionId,
    /// Epoch of the lease that speaks.
    pub epoch: u64,
    /// Event id of the tool use.
    pub call_id: EventId,
    /// Tool name.
    pub tool: String,
    /// Tool input, a JSON object.
    pub input: Raw,
    /// See [`crate::tool::args_hash`].
    pub args_hash: String,
    /// Effect class.
    pub effect: Effect,
    /// The folder the tools work in.
    pub workspace: Workspace,
    /// Variables of the shell it runs in, beside those every shell has.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub variables: IndexMap<String, String>,
    /// What a step of a preparation needs and nobody may keep: it is not part of `args_hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Whoever asks wants to hear what it prints as it comes ([`FromExecutor::Progress`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
}

/// Which folder a session's tools work in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Workspace {
    /// The session's own folder under the executor's data directory.
    Session,
    /// A folder of the host, named by its owner.
    Dir {
        /// Absolute path.
        path: String,
    },
}

/// A question about a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// Session of the call.
    pub session: SessionId,
    /// Epoch of the lease that speaks.
    pub epoch: u64,
    /// Event id of the tool use.
    pub call_id: EventId,
    /// See [`crate::tool::args_hash`].
    pub args_hash: String,
}

/// Executor → router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "the large one is said once a link")]
pub enum FromExecutor {
    /// First frame on a link.
    Hello(Hello),
    /// The call is over (also the answer to a `Call` that attached, and pushed when a settled running call ends).
    Result {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// What came of it.
        outcome: Outcome,
    },
    /// What a running call has printed since it was last said, as far as there was room. Only said to who asked for it.
    Progress {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// Safe to show.
        text: String,
    },
    /// Answer to `Settle`.
    Settled {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// What the journal knows.
        state: CallState,
    },
    /// The call or question was not taken.
    Refused {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// Why.
        reason: Refusal,
    },
    /// Answer to `CopyWorkspace`.
    WorkspaceCopied {
        /// Destination.
        to: SessionId,
        /// `None` when it worked; a reason otherwise.
        error: Option<String>,
    },
    /// Answer to `ReadOutput`.
    OutputPiece {
        /// Session of the call.
        session: SessionId,
        /// Which call.
        call_id: EventId,
        /// As asked.
        offset: u64,
        /// Base64 of at most 1 MiB; empty at the end, `None` when there is no such output.
        piece: Option<String>,
    },
    /// Answer to `Pack`.
    Pack {
        /// Which.
        pack: PackId,
        /// Who answers.
        at: ExecutorId,
        /// What came of it.
        answer: PackAnswer,
    },
    /// Answer to `Ping`.
    Pong {
        /// The nonce of the ping.
        nonce: u64,
    },
}

/// Bytes of a pack in one frame: encoded they fit every bus.
pub const PACK_PIECE_BYTES: usize = 128 * 1024;

/// What is asked about a pack: a workspace folder as one tar file, made or put together beside the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackAsk {
    /// Pack a folder as it is now.
    Make {
        /// Whose.
        session: SessionId,
        /// Which folder.
        workspace: Workspace,
    },
    /// A piece of it.
    Read {
        /// From this byte on.
        offset: u64,
    },
    /// Put a piece in its place: at the end, or where it is already.
    Write {
        /// Of its first byte.
        offset: u64,
        /// Base64 of at most [`PACK_PIECE_BYTES`].
        piece: String,
    },
    /// Make a session's own folder of it, which must not exist yet.
    Unpack {
        /// Whose.
        session: SessionId,
    },
    /// It is not needed any more.
    Drop,
}

/// What came of a [`PackAsk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackAnswer {
    /// Packed.
    Made {
        /// Its length; 0 when there is no folder.
        bytes: u64,
    },
    /// To `Read`.
    Piece {
        /// As asked.
        offset: u64,
        /// Base64 of at most [`PACK_PIECE_BYTES`]; empty at the end.
        piece: String,
    },
    /// To `Write`.
    Written {
        /// Its length now.
        bytes: u64,
    },
    /// The folder is there.
    Unpacked,
    /// Gone.
    Dropped,
    /// It was not done.
    Failed {
        /// Why, for a person.
        message: String,
    },
}

/// Who an executor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it speaks: [`PROTOCOL_VERSION`] of its build. A router takes what is not newer than itself.
    #[serde(default = "first_version")]
    pub version: u32,
    /// Stable across restarts of the same installation.
    pub executor_id: ExecutorId,
    /// The journal it answers from.
    pub journal_id: JournalId,
    /// What it can do.
    pub card: Card,
}

/// Before hellos said so.
const fn first_version() -> u32 {
    1
}

/// An executor's self-description. What a probe did not find out in time is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Name for people.
    pub name: String,
    /// `linux`, `macos`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Tools it serves.
    pub tools: Vec<String>,
    /// Whether tools run contained (bubblewrap, container).
    pub contained: bool,
    /// When all that follows was looked at, by the machine's clock; whoever says it looks again when asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed_at: Option<Timestamp>,
    /// What the machine calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Processors that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes free where the tools work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Graphics processors, as their driver calls them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// Languages and tools, and what they say of their version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// Command lines of harnesses, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harnesses: Vec<Program>,
    /// The folders it offers; none where all of the machine may be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
    /// The folder it offers where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Where that folder was cloned from, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_remote: Option<String>,
}

/// Longest word on a card that is kept, in characters.
const CARD_CHARS: usize = 1024;
/// Longest list on a card that is kept.
const CARD_ENTRIES: usize = 64;

impl Card {
    /// The card as it is kept: an executor says what it likes of itself, and no more than so much of it is remembered.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let short = |text: &mut String| {
            if let Some((end, _)) = text.char_indices().nth(CARD_CHARS) {
                text.truncate(end);
            }
        };
        [&mut self.name, &mut self.os, &mut self.arch]
            .into_iter()
            .for_each(short);
        let told = [&mut self.hostname, &mut self.cwd, &mut self.git_remote];
        told.into_iter().flatten().for_each(short);
        for words in [&mut self.tools, &mut self.gpus, &mut self.roots] {
            words.truncate(CARD_ENTRIES);
            words.iter_mut().for_each(short);
        }
        for programs in [&mut self.programs, &mut self.harnesses] {
            programs.truncate(CARD_ENTRIES);
            for program in programs {
                short(&mut program.name);
                short(&mut program.version);
                program.path.iter_mut().for_each(short);
            }
        }
        self
    }
}

/// A program that an executor has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is called: `git`, `python3`.
    pub name: String,
    /// The first line of what it says of its version.
    pub version: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What a journal knows of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallState {
    /// Runs now; its `Result` follows on this link.
    Running,
    /// Over, and this came of it.
    Done {
        /// The stored result.
        outcome: Outcome,
    },
    /// This journal never saw it: it was never started here.
    NeverStarted,
    /// Started, no result, and nothing of it is alive.
    Lost,
}

/// Why an executor does not take a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// A newer lease has spoken (I4).
    StaleEpoch {
        /// The highest epoch seen for this session.
        seen: u64,
    },
    /// This call id was used with other arguments.
    OtherArguments,
    /// The call was started by an earlier process and its outcome is lost: it is not run again.
    Lost,
    /// The journal cannot be written (disk full, read-only): nothing was started.
    JournalUnavailable {
        /// What the system said.
        message: String,
    },
    /// Too many calls at once.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executors outlive workers: what one of an earlier release says is read, and what is written without news is what that
    /// release wrote.
    #[test]
    fn a_hello_of_an_earlier_release_is_read() {
        let old = r#"{"hello":{"executor_id":"exec_00000000000000000000000000000001","journal_id":"jrnl_00000000000000000000000000000002","card":{"name":"local","os":"linux","arch":"x86_64","tools":["bash"],"contained":true}}}"#;
        let FromExecutor::Hello(hello) = serde_json::from_str(old).unwrap() else {
            panic!("a hello");
        };
        assert_eq!(
            (hello.version, hello.card.cpus, hello.card.cwd.clone()),
            (1, None, None)
        );
        let card = serde_json::to_string(&hello.card).unwrap();
        assert!(old.contains(&card), "{card}");
    }
}
