//! Every bound of this crate.

use std::time::Duration;

/// Pings go out this often.
pub const BEAT: Duration = Duration::from_secs(5);
/// Largest WebSocket message, in bytes: what is written at a time is smaller.
pub const MESSAGE_BYTES: usize = 128 * 1024;
/// Bytes collected before they are written.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;
/// Streams of one tunnel.
pub(crate) const STREAMS: usize = 64;
/// Bytes under way to us, over all streams of one tunnel.
pub(crate) const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// How long the last bytes may take to leave.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);
