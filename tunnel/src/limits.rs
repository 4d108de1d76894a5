//! Every bound of this crate.

use std::time::Duration;

/// Pings go out this often.
pub const BEAT: Duration = Duration::from_secs(5);
/// Looks, within a beat, at whether anything came.
pub(crate) const LOOKS: u32 = 8;
/// Largest WebSocket message, in bytes: what is written at a time is smaller.
pub const MESSAGE_BYTES: usize = 128 * 1024;
/// Bytes of a socket read at a time. The WebSocket library clears as many before each look, so a buffer for whole messages would
/// cost a small frame more than all else it goes through.
pub const READ_BYTES: usize = 16 * 1024;
/// Most bytes of one stream that are written at a time.
pub(crate) const PART_BYTES: usize = 64 * 1024;
/// Bytes collected before they are written: such a part, and what says whose it is.
pub(crate) const WRITE_BYTES: usize = PART_BYTES + 1024;
/// Longest first frame of who is asked for signs of life: it says who it is, and nothing else yet.
pub const FIRST_FRAME_BYTES: usize = 1024 * 1024;
/// A frame that is longer waits until all before it are taken: of many that may wait, few are long.
pub(crate) const LONG_FRAME_BYTES: usize = 64 * 1024;
/// Streams of one tunnel. One more ends it, so whoever opens them keeps well below.
pub(crate) const STREAMS: usize = 64;
/// Streams beside the first that one end opens at a time: what was let go of may still count at the other end.
pub const LANES: usize = 32;
/// Bytes of a terminal in one piece.
pub const TERMINAL_PIECE_BYTES: usize = 64 * 1024;
/// What a program prints, in one piece.
pub const SERVER_PIECE_BYTES: usize = 64 * 1024;
/// What is told of what it said of errors.
pub const SERVER_ERRORS_BYTES: usize = 4 * 1024;
/// Streams that were opened by the other end and wait to be taken.
pub const LANES_WAITING: usize = LANES;
/// Bytes under way to us, over all streams of one tunnel.
pub(crate) const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// How long the last bytes may take to leave.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);
