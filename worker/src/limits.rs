//! Bounds of a worker.

use std::time::Duration;

/// Sessions one worker process drives at once, unless set otherwise.
pub const SLOTS: u32 = 64;
/// How long a session that must be driven alone is left to other workers while this one is busy.
pub const ALONE_PATIENCE: Duration = Duration::from_secs(30);
/// Until it is offered again meanwhile, in milliseconds.
pub const ALONE_PAUSE_MILLIS: u64 = 1_000;
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
