//! Every bound of this crate in one place.

use std::time::Duration;

/// Appends and lease verbs that may wait for the writer; who comes later waits [`QUEUE_WAIT`] and is refused.
pub const WRITER_QUEUE: usize = 1024;
/// Most of them that travel in one transaction.
pub const BATCH: usize = 256;
/// Payload bytes after which a transaction takes no further member.
pub const BATCH_BYTES: usize = 32 * 1024 * 1024;
/// How long a caller waits for a place in the writer's queue or for a reader.
pub const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// How long SQLite waits for another connection's transaction.
pub const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Connections that read.
pub const READERS: u32 = 4;
/// Connections for the accounts' tables.
pub const ACCOUNT_CONNECTIONS: u32 = 2;
/// Prepared statements kept per connection; appends have one per shape.
pub const STATEMENTS: usize = 256;
/// Payload bytes one `read` returns at most, unless a single event is larger.
pub const READ_BYTES: usize = 8 * 1024 * 1024;
/// A commit with more packed bytes is not opened for the one line that lists show of it.
pub const TELLING_BYTES: u32 = 64 * 1024;
/// The same of one that would be larger than this when opened.
pub const TELLING_OPENED_BYTES: usize = 256 * 1024;
/// Sessions whose rows the writer remembers.
pub const HEADS: usize = 4096;
/// Rows of one INSERT (SQLite binds at most 32,766 values per statement).
pub const ROWS_PER_INSERT: usize = 256;
/// Events that one statement of a listing or a search looks through.
pub const SCAN_EVENTS: u64 = 500;
/// Highest seq of a session: half of an event's position.
pub const LAST_SEQ: u64 = u32::MAX as u64;
/// How long an idempotency key is remembered, in milliseconds (I19 promises a day).
pub const IDEMPOTENCY_MILLIS: u64 = 48 * 3600 * 1000;
/// How long a request of an official SDK may be repeated by its retry, in milliseconds.
pub const SDK_RETRY_MILLIS: u64 = 60 * 1000;
/// How often forgotten keys are swept out, in milliseconds.
pub const PRUNE_EVERY_MILLIS: u64 = 10 * 60 * 1000;
/// How many of them at once.
pub const PRUNE_ROWS: i64 = 1000;
/// Size the write-ahead log is cut back to after a checkpoint.
pub const WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Pages (of 4 KiB) of it after which a checkpoint begins.
pub const WAL_PAGES: u32 = 4096;
/// Notices that wait for one subscriber; then it is told that it lagged.
pub const SUBSCRIBER_NOTICES: usize = 256;
/// Preview bytes that wait for one subscriber.
pub const SUBSCRIBER_BYTES: usize = 1024 * 1024;

/// How long a question over the bus waits for its answer.
pub(crate) const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// Questions to one executor that may wait.
pub(crate) const REQUESTS: usize = 64;

/// Bytes of a question or an answer.
pub(crate) const REQUEST_BYTES: usize = 256 * 1024;

/// Bytes of one preview that travels between nodes; a larger one is seen on its own node only.
pub(crate) const DELTA_BYTES: usize = 256 * 1024;

/// Messages that wait to be sent to other nodes, of each kind; beyond it they are dropped.
pub(crate) const OUTBOX_MESSAGES: usize = 8192;

/// Bytes that wait to be sent to other nodes.
pub(crate) const OUTBOX_BYTES: usize = 16 * 1024 * 1024;

/// Longest subject prefix.
pub(crate) const SUBJECT_PREFIX_BYTES: usize = 64;

/// How long connecting to NATS may take before it counts as failed.
pub(crate) const NATS_CONNECT_WAIT: Duration = Duration::from_secs(5);

/// How often the line to NATS is tried; two unanswered tries end it, so a dead one is found within three times this.
pub(crate) const NATS_PING: Duration = Duration::from_secs(5);

/// Pause before the second attempt to connect; it doubles with each.
pub(crate) const NATS_DELAY: Duration = Duration::from_millis(25);

/// Longest such pause.
pub(crate) const NATS_DELAY_MAX: Duration = Duration::from_secs(2);

/// Messages of one subscription that wait to be handed on; handing on never waits, so this is ample.
pub(crate) const NATS_INBOUND: usize = 8192;

/// Commands that wait for the connection.
pub(crate) const NATS_OUTBOUND: usize = 1024;

/// How long the server may take to confirm that it has read what was sent.
pub(crate) const CONFIRM_WAIT: Duration = Duration::from_secs(2);

/// Pause before it is asked again.
pub(crate) const CONFIRM_AGAIN: Duration = Duration::from_secs(1);

/// How long the last messages of a node that ends may take.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a bus without a server looks.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// Sessions whose heads are asked for at once.
pub(crate) const POLL_SESSIONS: usize = 1000;

/// How long the making of a database connection may take.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long one statement may take before its connection is given up; longer than the server's own bound (4 s).
pub const STATEMENT_WAIT: Duration = Duration::from_secs(5);
/// How long a writer tries to get a job done, and to learn what became of a commit whose answer was lost.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(5);
/// How often transactions that were left open are looked for: a fifth of what they are given, within these bounds.
pub(crate) const GUARD_OFTEN: Duration = Duration::from_secs(1);
/// See [`GUARD_OFTEN`].
pub(crate) const GUARD_SELDOM: Duration = Duration::from_secs(60);
/// Most of them that one look ends.
pub(crate) const GUARD_ROWS: i64 = 100;
/// After which a pooled connection is made anew.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(30 * 60);
/// Writers of one process on a shared database: more cost processor time and tail latency.
pub const WRITERS: usize = 2;
/// Connections that claim.
pub const CLAIMERS: u32 = 2;
/// Connections that renew.
pub const HEARTBEATS: u32 = 2;
/// Rows a writer remembers, so that an append need not read them.
pub const KNOWN_SESSIONS: usize = 4096;

/// How long it is believed which scopes have budgets, in milliseconds, unless they change in this process.
pub const COVER_MILLIS: u64 = 1000;
/// Scopes with budgets that are known per workspace; with more, every request asks the store.
pub(crate) const COVER_SCOPES: u32 = 1024;
/// Workspaces of which that is known.
pub(crate) const COVER_WORKSPACES: usize = 1024;
/// Traces that wait to be written; more are dropped.
pub(crate) const TRACE_QUEUE: usize = 4096;
/// Traces written in one commit.
pub(crate) const TRACE_BATCH: usize = 256;
/// How often writing a batch of traces is tried, and the pause in between.
pub(crate) const TRACE_ATTEMPTS: u32 = 30;
/// See [`TRACE_ATTEMPTS`].
pub(crate) const TRACE_PAUSE: Duration = Duration::from_secs(1);
/// How often old traces are forgotten.
pub(crate) const TRACE_PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Rows a sweep of the meter takes in one commit.
pub(crate) const METER_SWEEP: u32 = 500;
/// Connections of the meter to Postgres.
pub(crate) const METER_CONNECTIONS: u32 = 4;
/// The largest amount that is counted with: what is larger is taken for it, so that sums stay numbers of the databases.
pub(crate) const MOST: u64 = 1_000_000_000_000_000;
/// How long an expired or used code of the registry is still known, so that a repeated request finds it.
pub(crate) const CODE_KEEP_MILLIS: u64 = 24 * 3600 * 1000;
/// How long a sandbox that is over is left to a host that is away, in milliseconds.
pub(crate) const ABANDONED_MILLIS: u64 = 60 * 1000;
