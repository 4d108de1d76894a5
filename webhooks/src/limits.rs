//! Bounds of webhooks.

use std::time::Duration;

/// Between two looks when nobody says that anything changed.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// First look again after a change was announced: it may not be visible yet (I12).
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Workspaces whose hints are heard; the others wait for the sweep.
pub(crate) const HEARD: usize = 64;
/// Changed sessions of one page.
pub(crate) const PAGE: u32 = 64;
/// Pages of one workspace before it is another one's turn.
pub(crate) const PAGES: usize = 16;
/// Events of one read.
pub(crate) const EVENTS: u32 = 200;
/// A workspace that is looked through is nobody else's for so long.
pub(crate) const WATCH_MILLIS: u64 = 30_000;
/// Deliveries of one receiver that wait; with more, what happens is not told to it any more until it is enabled again.
pub(crate) const WAITING: u32 = 10_000;
/// Attempts at a time.
pub(crate) const ATTEMPTS_AT_ONCE: usize = 32;
/// An attempt is nobody else's for so long; longer than the way out waits.
pub(crate) const ATTEMPT_MILLIS: u64 = 25_000;
/// How long ended deliveries are remembered.
pub(crate) const KEPT_MILLIS: u64 = 7 * 24 * 3_600_000;
/// How often old ones are forgotten.
pub(crate) const FORGET: Duration = Duration::from_secs(600);
/// How often a note about a receiver is tried again when somebody else changed it.
pub(crate) const NOTES: u32 = 4;
/// Characters of a receiver's answer that are kept.
pub(crate) const ANSWER_CHARS: usize = 500;
