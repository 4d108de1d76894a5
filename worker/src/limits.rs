//! Bounds of a worker.

use std::time::Duration;

/// Sessions one worker process drives at once, unless set otherwise.
pub const SLOTS: u32 = 64;
/// How long a session that must be driven alone is left to other workers while this one is busy.
pub const ALONE_PATIENCE: Duration = Duration::from_secs(5);
/// Until it is offered again meanwhile, in milliseconds.
pub const ALONE_PAUSE_MILLIS: u64 = 1_000;
/// Sessions yielded to newer versions that are kept in mind. With as many, a worker claims nothing more until it may look at the
/// first of them again.
pub const YIELDED_SESSIONS: usize = 1_024;
/// So many times to live of a lease, a session that was yielded waits for a newer version of this program to take it.
pub const YIELD_TTLS: u32 = 2;
/// Folded sessions kept after they rest, so that the next turn reads only the tail.
pub const WARM_SESSIONS: usize = 256;
/// Events read per page of a replay.
pub const REPLAY_PAGE: u32 = 1_000;
/// Model requests in one turn before the session is stopped with an error.
pub const REQUESTS_PER_TURN: u32 = 1_000;
/// Tokens a model may write in one step, unless its adapter knows better.
pub const MAX_TOKENS: u32 = 16_384;
/// First and longest pause before an append is tried again while the store is unavailable.
pub const STORE_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a drain waits for sessions to let go before their leases are left to expire.
pub const DRAIN: Duration = Duration::from_secs(20);
/// Longest summary kept of a compacted context, in bytes.
pub const SUMMARY_BYTES: usize = 64 * 1024;
/// How often a conversation that is too long to be summarised is shortened, each time by half.
pub const SUMMARY_SHORTENINGS: u32 = 5;
/// Least and most bytes of a conversation that is summarised as a transcript, before it is shortened.
pub const TRANSCRIPT_BYTES: (usize, usize) = (16 * 1024, 512 * 1024);
/// Most bytes of one piece of such a transcript.
pub const TRANSCRIPT_PIECE_BYTES: usize = 8 * 1024;
/// Harness processes of one kind at once; a turn that needs one more waits.
pub const HARNESS_PROCESSES: usize = 16;
/// Of them, kept at rest between turns.
pub const HARNESS_RESTING: usize = 8;
/// Memory of those at rest.
pub const HARNESS_RESTING_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Longest rest of a harness process.
pub const HARNESS_REST: Duration = Duration::from_secs(10 * 60);
/// Memory of one harness process at work.
pub const HARNESS_PROCESS_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// A harness process that has waited so long for results of its calls makes room for others: the log starts it again.
pub const HARNESS_SLOW_CALL: Duration = Duration::from_secs(5);
/// How often a turn that waits for a process looks again who can be missed.
pub const HARNESS_QUEUE_PAUSE: Duration = Duration::from_millis(500);
/// A harness process of this age is not used for another step: its key ends, and what it leaks is given back.
pub const HARNESS_AGE: Duration = Duration::from_secs(60 * 60);

/// Lines to and from an agent of the generic lane that wait for their reader.
pub const ACP_LINES: usize = 256;
/// What such an agent said and nobody heard yet; beyond it, the agent waits to be heard.
pub const ACP_HEARD: usize = 1_024;
/// Most bytes such an agent may write for one step.
pub const ACP_STEP_BYTES: u64 = 64 * 1024 * 1024;
/// Calls of such an agent that wait for results at once; more are refused.
pub const ACP_CALLS: usize = 128;

/// How often a step of a preparation is sent when nobody knows what became of it.
pub const STEP_TRIES: u32 = 3;
/// What is told of a failed step: its end.
pub const STEP_TAIL_BYTES: usize = 4 * 1024;

/// Threads one Codex process has at once; more wait.
pub const CODEX_THREADS: usize = 256;
/// Threads one Codex process has in its life: its files grow with them, so another takes over.
pub const CODEX_THREADS_IN_ALL: u64 = 5_000;
/// A Codex process without threads for so long ends.
pub const CODEX_IDLE: Duration = Duration::from_secs(600);
/// Lines to and from Codex that wait for their reader.
pub const CODEX_LINES: usize = 1_024;
/// Requests of one Codex thread that wait: it makes one at a time.
pub const CODEX_REQUESTS: usize = 2;
/// Connections of one Codex process.
pub const CODEX_CONNECTIONS: usize = 1_024;
/// Most bytes of a request of Codex.
pub const CODEX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
