//! Event streams: one feed per session or workspace, shared by everybody on this node who watches it.
//!
//! ```text
//! bus ──┐
//! poll ─┴─▶ Pump: reads the log behind the hint, encodes frames once ─▶ Window ─▶ one place per client ─▶ socket
//!                                                                      (bounded)   └─ behind? reads the log itself
//! ```
//!
//! The window holds the newest frames. A client keeps its own place: who is slow falls off the window and reads the log until
//! it meets the window again, so nobody is skipped and nobody costs more than a page (INVARIANTS I11, F32).
//!
//! `session` follows one log by its numbers, `workspace` all of a workspace's sessions by their changes, `mailbox` the messages of one
//! mailbox by theirs: few look at one, so each reads for itself.

mod frame;
mod mailbox;
mod rooms;
mod session;
mod window;
mod workspace;

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Bus, Log, SessionKey, Sessions};
use perennial_schema::WorkspaceId;
use rand::Rng as _;
use tokio_util::task::TaskTracker;

pub(crate) use self::mailbox::{BEGINNING, Watcher};
use self::rooms::Rooms;
pub(crate) use self::session::{Selection, Subscriber};
pub(crate) use self::workspace::{Follower, Place};
use crate::limits::Limits;

/// All feeds of this process.
pub(crate) struct Hub {
    log: Arc<dyn Log>,
    sessions: Arc<dyn Sessions>,
    bus: Arc<dyn Bus>,
    tracker: TaskTracker,
    limits: Limits,
    of_sessions: Rooms<SessionKey, session::Feed>,
    of_workspaces: Rooms<WorkspaceId, workspace::Feed>,
}

impl Hub {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        sessions: Arc<dyn Sessions>,
        bus: Arc<dyn Bus>,
        tracker: TaskTracker,
        limits: Limits,
    ) -> Self {
        Self {
            log,
            sessions,
            bus,
            tracker,
            limits,
            of_sessions: Rooms::default(),
            of_workspaces: Rooms::default(),
        }
    }

    /// The session's feed. On return the bus is subscribed: read the head now, and nothing falls in between.
    pub(crate) fn join(&self, key: SessionKey) -> Arc<session::Feed> {
        self.of_sessions.join(key, || {
            let (feed, pump) = session::open(key, &self.log, self.bus.subscribe(key), self.limits);
            self.tracker.spawn(pump);
            feed
        })
    }

    /// The workspace's feed. On return the bus is subscribed.
    pub(crate) fn join_workspace(&self, workspace: WorkspaceId) -> Arc<workspace::Feed> {
        self.of_workspaces.join(workspace, || {
            let hints = self.bus.changes(workspace);
            let (feed, pump) = workspace::open(workspace, &self.sessions, hints, self.limits);
            self.tracker.spawn(pump);
            feed
        })
    }

    /// Feeds somebody watches.
    pub(crate) fn open(&self) -> usize {
        self.of_sessions.open() + self.of_workspaces.open()
    }
}

/// Counts a client for as long as it lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("perennial_event_streams_open").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("perennial_event_streams_open").decrement(1.0);
    }
}

/// How long a client waits before it comes back, in milliseconds.
fn retry_millis(limits: &Limits) -> u64 {
    u64::try_from(jittered(limits.poll * 2).as_millis()).unwrap_or(1000)
}

/// Three quarters to the whole of a duration, so that many feeds do not poll at the same moment.
fn jittered(whole: Duration) -> Duration {
    whole.mul_f64(rand::rng().random_range(0.75..1.0))
}
