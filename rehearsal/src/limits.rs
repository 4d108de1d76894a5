//! Bounds of the rehearsal.

/// Failures in progress that are remembered; beyond this all are forgotten, which only repeats some.
pub const COUNTERS: usize = 4_096;
/// Calls whose thoughts a server remembers; beyond this all are forgotten, which only misses some omissions.
pub const ISSUED: usize = 65_536;
/// Largest request, in bytes: a vendor takes 32 MB, and a little more tells who wants to send too much.
pub const BODY_BYTES: usize = 64 * 1024 * 1024;
/// Violations a server remembers.
pub const VIOLATIONS: usize = 1_000;
