//! Bounds of the HTTP edge. What clients can see of them is in `perennial_schema::limits`.

use std::time::Duration;

/// Events kept in a feed's ring for its subscribers; who falls further behind reads the log instead.
pub const RING_EVENTS: usize = 256;
/// Bytes kept in a feed's ring, and the most one catch-up read hands to a subscriber at once.
pub const RING_BYTES: usize = 1024 * 1024;
/// Events one catch-up read asks the log for.
pub const CATCH_UP_EVENTS: u32 = 64;
/// Sessions one read of a workspace's changes asks for.
pub const FEED_PAGE: u32 = 32;
/// Answers to calls that are told of one session, newest first.
pub const ANSWERS_OF_A_SESSION: u32 = 50;
/// First look again after a change was announced: it may not be visible yet (I12). Doubles up to the poll.
pub const FEED_LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A client of the workspace feed without a cursor is not told of sessions deleted so long before it came.
pub const FEED_FORGETS: Duration = Duration::from_secs(60);
/// Finished previews a feed remembers, so that a straggling delta never follows its final event.
pub const FINISHED_PREVIEWS: usize = 256;
/// Previews one subscriber follows at a time.
pub const OPEN_PREVIEWS: usize = 16;
/// Values of one array parameter.
pub const QUERY_VALUES: usize = 64;
/// Longest page cursor, in bytes.
pub const CURSOR_BYTES: usize = 512;
/// Events in one page of a session's log when the client names no limit.
pub const EVENT_PAGE_DEFAULT: u32 = 100;
/// How often an append with an unknown outcome is asked again under its append id (I2).
pub const APPEND_TRIES: u32 = 3;
/// Blobs read at once; each is in memory as a whole.
pub const BLOBS_AT_ONCE: usize = 4;
/// Diffs made at the same time.
pub const DIFFS_AT_ONCE: usize = 4;
/// Most bytes of one diff.
pub const DIFF_BYTES: u64 = 32 << 20;
/// Bytes of a blob handed to a connection at once.
pub const BLOB_PIECE_BYTES: usize = 256 * 1024;
/// Sessions exported at once; each reads a whole log twice.
pub const EXPORTS_AT_ONCE: usize = 4;
/// Bytes of an exported session handed to a connection at once.
pub const TAPE_PIECE_BYTES: usize = 64 * 1024;
/// Such pieces that wait for a slow reader, and parts of an imported file that wait for the stores.
pub const TAPE_PIECES: usize = 8;
/// Registrations of machines at once, without a key; beyond it one each [`REGISTRATION_EVERY`].
pub const REGISTRATIONS: u32 = 64;
/// See [`REGISTRATIONS`].
pub const REGISTRATION_EVERY: Duration = Duration::from_millis(250);
/// Logins of the console at once, without a key that would say by whom; beyond it one each [`LOGIN_EVERY`].
pub const LOGINS: u32 = 32;
/// See [`LOGINS`].
pub const LOGIN_EVERY: Duration = Duration::from_millis(500);
/// How long a login of the console lasts.
pub const CONSOLE_LOGIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the link that `up` prints may be opened.
pub const CONSOLE_LINK: Duration = Duration::from_secs(600);
/// Links that wait to be opened.
pub const CONSOLE_LINKS: usize = 16;
/// Connections of KEDA at once; it needs one for each replica of its operator.
pub const KEDA_CONNECTIONS: usize = 64;
/// Calls at once on one of them.
pub const KEDA_CALLS: u32 = 64;
/// Streams on all of them together; each counts what there is to do, [`KEDA_LOOK`] apart.
pub const KEDA_STREAMS: usize = 64;
/// Between two looks for such a stream.
pub const KEDA_LOOK: Duration = Duration::from_millis(500);
/// Longest message of KEDA, in bytes.
pub const KEDA_MESSAGE: usize = 64 * 1024;
/// A connection of KEDA is asked so often whether it is alive, and has so long to say it.
pub const KEDA_ALIVE: Duration = Duration::from_secs(20);
/// How long open calls of KEDA may take when the server ends.
pub const KEDA_GRACE: Duration = Duration::from_secs(2);
/// Connections of one sandbox at once: one is in use, and the next may come before the end of the last was seen.
pub const SANDBOX_CONNECTIONS: usize = 4;
/// Sessions imported at once; each holds a log in memory and its file on disk.
pub const IMPORTS_AT_ONCE: usize = 2;
/// Largest file that is imported.
pub const IMPORT_FILE_BYTES: u64 = 6 << 30;
/// How long it may take to arrive.
pub const IMPORT_TOTAL: Duration = Duration::from_secs(3600);
/// How much of it is looked at to tell what it is.
pub const IMPORT_LOOK_BYTES: u64 = 1024 * 1024;
/// Largest `manifest.json` and `session.json` in it.
pub const IMPORT_META_BYTES: u64 = 4 * 1024 * 1024;
/// Events in it.
pub const IMPORT_EVENTS: u64 = 1_000_000;
/// Bytes of all its events, or of a transcript.
pub const IMPORT_EVENT_BYTES: u64 = 256 * 1024 * 1024;
/// Longest line of events, or of a transcript.
pub const IMPORT_LINE_BYTES: u64 = 32 * 1024 * 1024;
/// Blobs in it.
pub const IMPORT_BLOBS: u64 = 10_000;
/// Bytes of a machine's file handed to a connection at once.
pub const FILE_PIECE_BYTES: usize = 64 * 1024;
/// How long a file for a machine may take to arrive.
pub const FILE_TOTAL: Duration = Duration::from_secs(6 * 3600);
/// Bytes of a port of a machine handed to a connection at once.
pub const FORWARD_PIECE_BYTES: usize = 64 * 1024;
/// How long a service behind a preview may take to begin its answer, the request's body included.
pub const PREVIEW_WAIT: Duration = Duration::from_secs(15 * 60);
/// Cookies of previews kept in memory.
pub const CACHED_VISITS: usize = 256;
/// How often a client's WebSocket is pinged.
pub const SOCKET_BEAT: Duration = Duration::from_secs(15);
/// As many without a word, and the client is gone.
pub const SOCKET_BEATS: u32 = 3;
/// Messages that wait for such a client, each at most a piece.
pub const SOCKET_WAITING: usize = 4;
/// Verified keys kept in memory.
pub const CACHED_KEYS: usize = 64;
/// How long a verified key is trusted without asking the database again.
pub const KEY_CACHE: Duration = Duration::from_secs(5);
/// How often the credential of a worker's stream is asked for again.
pub const CREDENTIAL_CHECK: Duration = Duration::from_secs(4);
/// How long one statement on Postgres may take before its connection is given up; longer than the server's own bound (4 s).
pub const STATEMENT_WAIT: Duration = Duration::from_secs(5);
/// How long a key of our own idempotency table is honoured.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(48 * 3600);
/// How long after its first try a declared SDK retry gets that try's answer.
pub const SDK_RETRY_WINDOW: Duration = Duration::from_secs(60);

/// Patience and size of the listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From accept, or from the end of the last request, to a complete head; a silent connection ends with it too.
    pub head: Duration,
    /// Between two pieces of a request body.
    pub body_idle: Duration,
    /// For a whole request body.
    pub body_total: Duration,
    /// How long a write may find no room: a client that never reads.
    pub write_stall: Duration,
    /// Connections at a time; further ones wait in the backlog.
    pub connections: usize,
    /// From shutdown to dropping what is still open.
    pub grace: Duration,
    /// Between two comments on a silent event stream.
    pub heartbeat: Duration,
    /// Between two looks at the log when no hint comes, before jitter.
    pub poll: Duration,
    /// How long a worker of a self-hosted environment is believed alive after a heartbeat, in seconds, when it does not say.
    pub work_lease: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            body_total: Duration::from_secs(120),
            write_stall: Duration::from_secs(30),
            connections: 4096,
            grace: Duration::from_secs(5),
            heartbeat: Duration::from_secs(9),
            poll: Duration::from_secs(1),
            work_lease: 30,
        }
    }
}

/// Content of one message of mail, in bytes.
pub(crate) const MAIL_BYTES: usize = 256 * 1024;
/// Messages that the feed of a mailbox reads and holds at once.
pub(crate) const MAIL_FEED_PAGE: u32 = 16;
/// Messages of a queue received at once.
pub(crate) const MAIL_RECEIVED: u32 = 10;
/// How long a received message is hidden from others when the client does not say.
pub(crate) const MAIL_HIDDEN_DEFAULT_SECONDS: u64 = 30;
/// The longest it can be hidden without an extension.
pub(crate) const MAIL_HIDDEN_MOST_SECONDS: u64 = 12 * 3600;
/// How long a receive may wait.
pub(crate) const MAIL_WAIT_MOST: Duration = Duration::from_secs(30);
/// The longest lease that a worker of a self-hosted environment can ask for, in seconds.
pub(crate) const WORK_LEASE_MOST_SECONDS: u32 = 3600;
/// How long a poll for work may wait, in milliseconds.
pub(crate) const WORK_BLOCK_MOST: u64 = 999;
/// Between two looks at a queue while a poll waits and the workspace is busy.
pub(crate) const WORK_LOOK_AGAIN: Duration = Duration::from_millis(200);
/// When a piece of work that nobody acknowledges is given to somebody else, unless a poll says otherwise, in milliseconds.
pub(crate) const WORK_RECLAIM_MILLIS: u64 = 5000;
/// After a piece of work that left its session as it was, the next waits so long, in milliseconds.
pub(crate) const WORK_REST_MILLIS: u64 = 5000;
/// Pieces of work of one queue at a time; further sessions wait until some have stopped.
pub(crate) const WORK_OPEN: u32 = 1000;
/// Sessions of an environment that one look considers.
pub(crate) const WORK_SESSIONS: u32 = 1000;
/// Sessions whose wants are remembered.
pub(crate) const WANTS_KEPT: usize = 8192;
/// Longest name of a worker.
pub(crate) const WORKER_NAME_BYTES: usize = 200;
/// How often a change of a piece of work is tried again when somebody else was faster.
pub(crate) const WORK_TRIES: u32 = 8;
/// Forms with files that come in at a time.
pub const UPLOADS_AT_ONCE: usize = 8;
/// Most files of one.
pub const UPLOAD_FILES: usize = 500;
/// Largest of them, in bytes.
pub const UPLOAD_FILE_BYTES: u64 = 50_000_000;
/// Receivers of webhooks in a workspace.
pub(crate) const WEBHOOKS: u32 = 50;
/// Longest address of one.
pub(crate) const WEBHOOK_URL_BYTES: usize = 2048;
/// How often a change of one is tried again when somebody else was faster.
pub(crate) const WEBHOOK_TRIES: u32 = 8;
/// How long an MCP client waits for a session when it does not say.
pub(crate) const MCP_WAIT: Duration = Duration::from_secs(120);
/// The longest it may.
pub(crate) const MCP_WAIT_MOST: Duration = Duration::from_secs(600);
/// How often it is looked whether a session rests when no hint comes.
pub(crate) const MCP_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Events that are read at once for it.
pub(crate) const MCP_PAGE: u32 = 200;
/// Longest answer of a route that is shown to an MCP client.
pub(crate) const MCP_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Machines whose tools are offered to it.
pub(crate) const MCP_EXECUTORS: u32 = 50;
/// How often a call in a session that changes hands is tried.
pub(crate) const MCP_TRIES: usize = 3;
