//! Bounds of the gateway.

use std::time::Duration;

/// Largest request body, in bytes: the largest a provider takes.
pub const BODY_BYTES: usize = 32 * 1024 * 1024;
/// Longest path of a request, in bytes; its query may be as long.
pub const PATH_BYTES: usize = 512;
/// Longest model name, in bytes.
pub const MODEL_BYTES: usize = 256;
/// Bytes of an answer without a stream that are read for its usage, and of one line of a stream.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an error's body that are read before it is passed on.
pub const ERROR_BYTES: usize = 1024 * 1024;
/// Bytes a compressed answer may unfold to before its usage is given up.
pub const INFLATED_BYTES: u64 = 256 * 1024 * 1024;
/// Compressed bytes unfolded at a time: what they unfold to is in memory.
pub const INFLATE_STEP: usize = 4 * 1024;
/// Answer tokens a request reserves when it does not say how many it wants.
pub const OUTPUT_TOKENS: u64 = 8_192;
/// Most tokens a request reserves for what it says: no model reads more, and the text of an image is no text.
pub const INPUT_TOKENS: u64 = 250_000;
/// How long a reservation lasts without being settled; then it counts as reserved.
pub const RESERVATION: Duration = Duration::from_secs(30 * 60);
/// How often settling is tried while the store is unavailable; after that, the reservation's deadline settles it.
pub const SETTLE_TRIES: u32 = 5;
/// First pause between two of these tries; it doubles.
pub const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How long the rest of an answer that is known to be over is waited for, so that its connection can be used again.
pub const REST: Duration = Duration::from_secs(1);
/// Virtual keys kept in memory.
pub const CACHED_KEYS: usize = 256;
/// How long a virtual key is trusted without asking the store again. Those of turns are asked for each time.
pub const KEY_CACHE: Duration = Duration::from_secs(3);
/// How long a key made for one harness process is good; it is revoked when the process ends.
pub const TURN_KEY: Duration = Duration::from_secs(12 * 3600);
/// Idle connections kept per provider.
pub const IDLE_CONNECTIONS: usize = 64;
/// A provider's key shorter than this is not looked for in what it answers: it would be found in ordinary words.
pub const SCRUBBED_KEY_BYTES: usize = 8;
/// How long a client is told to wait when a budget is used up and never begins anew.
pub const USED_UP_PAUSE: Duration = Duration::from_secs(3600);
