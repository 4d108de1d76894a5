//! Bounds of the client.

use std::time::Duration;

/// For a connection to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence on a connection; three heartbeats of the server.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// The same while a folder is packed or unpacked at the other end.
pub(super) const FILE_SILENCE: Duration = Duration::from_secs(10 * 60);
/// How long the owner of a machine may take to say whether a stream is opened.
pub(super) const OPENING: Duration = Duration::from_secs(70);
/// How long `run` and `attach` wait for a server that is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// First pause between two attempts; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Attempts of a request whose answer was lost, when nobody asked for patience.
pub(super) const ATTEMPTS: u32 = 3;
/// Items asked for in one page.
pub(super) const PAGE: usize = 100;
/// Pages followed for one listing.
pub(super) const PAGES: usize = 1_000;
