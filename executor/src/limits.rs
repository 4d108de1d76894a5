//! Every bound of the executor in one place. Those an operator may want to change are in [`Limits`].

use std::time::Duration;

/// Bounds that differ between installations and tests.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls that run or wait at once, over all sessions; beyond it a call is refused as busy.
    pub calls: usize,
    /// Sessions in memory; a call that belongs to none is one. The nearer they come to this, the sooner an idle one leaves.
    pub sessions: usize,
    /// Live shells, over all sessions; the one idle longest goes first.
    pub shells: usize,
    /// A shell without a command for this long is closed.
    pub shell_idle: Duration,
    /// MCP servers that run at once, over all sessions.
    pub servers: usize,
    /// Entries one workspace copy may hold.
    pub copy_entries: usize,
    /// Bytes one workspace copy may hold.
    pub copy_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 256,
            sessions: 4 * 1024,
            shells: 64,
            shell_idle: Duration::from_secs(30 * 60),
            servers: SERVERS,
            copy_entries: 200_000,
            copy_bytes: 4 << 30,
        }
    }
}

/// Requests waiting for one session: beside each of all calls there may be, its settlement and its cancellation.
pub(crate) const MAILBOX: usize = 1024;
/// How long the journal of a forgotten session stays: longer than any server repeats a request.
pub(crate) const JOURNAL_AGE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// How often it is looked for such journals, as long as sessions are forgotten.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// Cancelled calls that a session remembers, should the calls themselves come later.
pub(crate) const STOPPED: usize = 64;
/// Frames waiting for a slow peer.
pub(crate) const LINK_FRAMES: usize = 256;
/// A frame with more text waits until all before it are taken: of many that may wait, few are long.
pub(crate) const LONG_BYTES: usize = 64 * 1024;
/// KiB of inputs of all calls that run or wait.
pub(crate) const INPUTS_KIB: usize = 64 * 1024;
/// Questions of one link about outputs and packs that are answered at once; more wait, and what comes after them.
pub(crate) const ASIDES: usize = 8;
/// Copies of folders that may wait.
pub(crate) const COPIES_WAITING: usize = 256;
/// A session without calls and shell leaves memory after this long.
pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(5 * 60);
/// At most as long once half of the sessions there may be are there, and not at all when there is only room left for the calls that
/// there may be.
pub(crate) const CROWDED_IDLE: Duration = Duration::from_secs(1);
/// Packs that may lie beside the journal at once.
pub(crate) const PACKS: usize = 16;
/// How long a pack nobody touches stays.
pub(crate) const PACK_AGE: Duration = Duration::from_secs(60 * 60);
/// What an entry of a pack may take beside its content: header, padding, long names.
pub(crate) const PACK_ENTRY_BYTES: u64 = 4096;
/// Longest path in a pack, in bytes.
pub(crate) const PACK_PATH_BYTES: u64 = 4096;
/// Further streams of tunnels that are answered at once.
pub(crate) const STREAMS: usize = perennial_tunnel::limits::LANES;
/// How long a stream may take to say what it is for.
pub(crate) const OPENING_TIME: Duration = Duration::from_secs(10);
/// Bytes of a file on their way that are in memory, on each side of a stream.
pub(crate) const FILE_PIECE_BYTES: usize = 128 * 1024;
/// How long a connection to a port of this machine may take.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Bytes of such a connection in memory, each way.
pub(crate) const FORWARD_PIECE_BYTES: usize = 64 * 1024;
/// How long somebody who has nothing more to say may take nothing either.
pub(crate) const FORWARD_STALL: Duration = Duration::from_secs(60);
/// MCP servers of one that dialled home: beside each has to be room for other streams of its tunnel.
const SERVERS: usize = perennial_tunnel::limits::LANES * 3 / 4;
/// The same of one that serves a host, whose streams are no tunnel's.
pub const SERVERS_OF_HOST: usize = 128;
/// How long the last words of such a program, and its end, may take after each other.
pub(crate) const SERVER_LAST: Duration = Duration::from_millis(500);
/// How long one may take to end whose input is over.
pub(crate) const SERVER_GRACE: Duration = Duration::from_secs(2);
/// How long one may take nothing of what is told to it.
pub(crate) const SERVER_STALL: Duration = Duration::from_secs(60);
/// Bytes of a stream within this process that nobody took yet.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;
/// Terminals with a shell on them.
pub(crate) const TERMINALS: usize = 16;
/// What of a terminal is shown again to who comes back, and kept for who is slow.
pub(crate) const SCROLLBACK_BYTES: usize = 256 * 1024;
/// Bytes of a terminal handed on at once.
pub(crate) const SCREEN_PIECE_BYTES: usize = 16 * 1024;
/// What was typed and waits for a shell that reads nothing.
pub(crate) const TERMINAL_KEYS: usize = 64;
/// A terminal that nobody looks at for so long ends.
pub(crate) const TERMINAL_IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a shell's last words, and its end, may take after each other.
pub(crate) const TERMINAL_LAST: Duration = Duration::from_millis(500);
/// Workspace copies at once.
pub(crate) const COPIES: usize = 2;

/// `timeout_ms` of `bash` when the model names none.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// The most it may ask for.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// How long the script of a preparation may take.
pub(crate) const SETUP_TIME: Duration = Duration::from_secs(30 * 60);
/// How long a clone may take.
pub(crate) const CLONE_TIME: Duration = Duration::from_secs(15 * 60);
/// How long a diff may take.
pub(crate) const DIFF_TIME: Duration = Duration::from_secs(120);
/// What is kept of what git says of errors.
pub(crate) const GIT_OUTPUT_BYTES: usize = 8 * 1024;
/// Shortest value of a variable that is taken for a secret.
pub(crate) const SECRET_BYTES: usize = 6;
/// Connections through the way out of a sandbox at once; more wait.
pub(crate) const WAY_OUT_CONNECTIONS: usize = 64;
/// How long an editor may take to open a terminal for a command; it may ask somebody first.
pub(crate) const PANE_OPEN: Duration = Duration::from_secs(30);
/// How long it may take for anything else about it.
pub(crate) const PANE_ANSWER: Duration = Duration::from_secs(5);
/// A terminal that comes no later than this is still given back.
pub(crate) const PANE_LATE: Duration = Duration::from_secs(10 * 60);
/// What an editor is asked to keep of what a command prints, in bytes.
pub(crate) const PANE_OUTPUT_BYTES: u64 = 1024 * 1024;
/// Variables that a command hands on to the next one in an editor's terminal, in bytes.
pub(crate) const PANE_KEPT_BYTES: usize = 64 * 1024;
/// What is read of what a shell says of its end there.
pub(crate) const PANE_SAID_BYTES: u64 = 2 * PANE_KEPT_BYTES as u64;
/// Longest command: bash reads its input byte by byte from a pipe.
pub(crate) const COMMAND_BYTES: usize = 256 * 1024;
/// Output in one outcome: what the vocabulary allows, less the notes and leftovers that may stand before it.
pub(crate) const OUTPUT_BYTES: usize = perennial_schema::limits::TOOL_OUTPUT_BYTES - LEFTOVER_BYTES - 4096;
/// Bytes of a long output in one frame.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;
/// How long a long output waits to be fetched.
pub(crate) const OUTPUT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// What background jobs printed between two commands and is still shown.
pub(crate) const LEFTOVER_BYTES: usize = 16 * 1024;
/// Bytes of the shell's control pipe that are looked at (a line of it is under 100).
pub(crate) const CONTROL_BYTES: usize = 4096;

/// What is still read from the output pipe after a command's end: as large as such a pipe can be made by default.
pub(crate) const DRAIN_BYTES: usize = 1024 * 1024;

/// Largest image that `read` returns.
pub(crate) const IMAGE_BYTES: u64 = 5_000_000;
/// Largest file that `edit` takes.
pub(crate) const EDIT_BYTES: u64 = 16 * 1024 * 1024;
/// Files that `glob` lists.
pub(crate) const GLOB_FILES: usize = 1000;
/// Lines that `grep` prints.
pub(crate) const GREP_LINES: usize = 1000;
/// Bytes of one line that `grep` prints.
pub(crate) const GREP_LINE_BYTES: usize = 500;
/// Memory `grep` may use for one line of a file.
pub(crate) const GREP_HEAP_BYTES: usize = 16 * 1024 * 1024;
/// Entries that a search looks at.
pub(crate) const WALK_ENTRIES: usize = 200_000;
/// Deepest folder that is walked or copied: each level holds a descriptor.
pub(crate) const DEPTH: usize = 128;
/// Largest `.gitignore` that is read.
pub(crate) const IGNORE_BYTES: u64 = 256 * 1024;
/// Time of one search.
pub(crate) const SEARCH_TIME: Duration = Duration::from_secs(60);
/// The same for somebody who waits for the stream to open.
pub(crate) const LOOK_TIME: Duration = Duration::from_secs(30);
/// Memory of one pattern, compiled.
pub(crate) const PATTERN_BYTES: usize = 4 * 1024 * 1024;
/// How deep repositories are looked for.
pub(crate) const REPOSITORY_DEPTH: usize = 8;
/// How much is read of a repository's references.
pub(crate) const REFS_BYTES: u64 = 1024 * 1024;

/// How long the journal's lock may be held by somebody who is about to let go.
pub(crate) const LOCK_TIME: Duration = Duration::from_millis(500);
/// How long killed processes may take to be gone.
pub(crate) const KILL_TIME: Duration = Duration::from_secs(5);
/// Pause between two looks at what is still alive; there is no signal for the death of processes that are not our children.
pub(crate) const KILL_LOOK: Duration = Duration::from_millis(2);
/// Time of the sandbox's probe run.
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(5);

/// Links at once on the socket.
pub(crate) const LINKS: usize = 64;
/// Pause after a link that could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a running command's output in one frame of progress.
pub(crate) const PROGRESS_BYTES: usize = 8 * 1024;
/// Between two of them.
pub(crate) const PROGRESS_BEAT: Duration = Duration::from_millis(100);
/// Looks at whether anything is still done, per time of idleness that is waited for.
pub(crate) const IDLE_LOOKS: u32 = 8;
/// How long the last frames to a peer may take when we close.
pub(crate) const LAST_FRAMES: Duration = Duration::from_secs(1);
/// Without links and running calls for this long, an executor process ends.
pub const PROCESS_IDLE: Duration = Duration::from_secs(10 * 60);
/// How long a program may take to say its version.
pub(crate) const VERSION_TIME: Duration = Duration::from_secs(3);
/// Most of what a program may say to that, in bytes.
pub(crate) const PROBE_BYTES: u64 = 64 * 1024;
/// Most lines of it that are looked at.
pub(crate) const PROBE_LINES: usize = 16;
/// Longest word on a card, in characters.
pub(crate) const PROBE_CHARS: usize = 200;
/// How long dialling home may take.
pub(crate) const DIAL_TIME: Duration = Duration::from_secs(10);
/// Pause after the first attempt to dial home; it doubles with each, and up to as much again is added by chance.
pub(crate) const DIAL_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
pub(crate) const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);
/// So long dialling goes on though the network changes: where links come and go all the time nobody would ever arrive.
pub(crate) const DIAL_GRACE: Duration = Duration::from_secs(1);
/// Pause while dialling is no use but may be some day: the server has to be upgraded first.
pub(crate) const DIAL_PAUSE_LONG: Duration = Duration::from_secs(30);
