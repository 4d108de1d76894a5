//! All sessions of a workspace as one stream of their changes (INVARIANTS I12): no change is skipped, each session comes in
//! its newest form, and may come twice.

mod follower;
mod place;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use perennial_engine::ports::{ChangeCursor, SessionRow, Sessions, StoreError, WakeUps};
use perennial_schema::WorkspaceId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::follower::Follower;
pub(crate) use self::place::Place;
use super::frame::{self, SessionFrame};
use super::jittered;
use super::window::{Framed, Window};
use crate::limits::{FEED_LOOK_AGAIN, FEED_PAGE, Limits};

/// One workspace's feed; ends when the last follower drops it.
pub(crate) struct Feed {
    workspace: WorkspaceId,
    sessions: Arc<dyn Sessions>,
    board: Mutex<Board>,
    /// Grows with every change of the board.
    changed: watch::Sender<u64>,
    /// The first follower who has read everything says how far that was.
    begin: watch::Sender<Option<Option<ChangeCursor>>>,
    gone: CancellationToken,
    limits: Limits,
}

/// The newest changes.
#[derive(Default)]
struct Board {
    window: Window<SessionFrame>,
    /// The window holds every change after this; outer none before the feed has begun.
    floor: Option<Option<ChangeCursor>>,
    /// Why nothing can follow.
    failed: Option<String>,
}

impl Framed for SessionFrame {
    fn bytes(&self) -> &bytes::Bytes {
        &self.bytes
    }
}

/// A feed, and the task behind it. It waits until the first follower has read all that there was before.
pub(super) fn open(
    workspace: WorkspaceId,
    sessions: &Arc<dyn Sessions>,
    hints: Box<dyn WakeUps>,
    limits: Limits,
) -> (Arc<Feed>, impl Future<Output = ()> + use<>) {
    let feed = Arc::new(Feed {
        workspace,
        sessions: Arc::clone(sessions),
        board: Mutex::default(),
        changed: watch::Sender::new(0),
        begin: watch::Sender::new(None),
        gone: CancellationToken::new(),
        limits,
    });
    let pump = Pump {
        feed: Arc::downgrade(&feed),
        sessions: Arc::clone(sessions),
        workspace,
        hints,
        last: None,
        wait: limits.poll,
        poll: limits.poll,
    };
    let running = pump.run(feed.begin.subscribe(), feed.gone.clone());
    (feed, running)
}

impl Feed {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the feed behind what its first follower has read.
    fn begin_at(&self, place: Option<ChangeCursor>) {
        self.begin.send_if_modified(|begin| {
            let first = begin.is_none();
            if first {
                *begin = Some(place);
                self.board().floor = Some(place);
            }
            first
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.board());
        self.changed.send_modify(|count| *count += 1);
    }

    /// A page of changes. In its own task: who asks may be dropped when its client hangs up.
    async fn read(&self, after: Option<ChangeCursor>) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        let (sessions, workspace) = (Arc::clone(&self.sessions), self.workspace);
        let read = tokio::spawn(async move { sessions.changes(workspace, after, FEED_PAGE).await });
        read.await.unwrap_or_else(|failure| {
            Err(StoreError::Unavailable {
                store: "sessions",
                message: format!("a read was lost: {failure}"),
            })
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Board {
    fn push(&mut self, frame: SessionFrame) {
        if let Some(fallen) = self.window.push(frame) {
            self.floor = Some(Some(fallen.cursor));
        }
    }
}

/// The task behind a feed. Holds it weakly, so that it ends with the last follower.
struct Pump {
    feed: Weak<Feed>,
    sessions: Arc<dyn Sessions>,
    workspace: WorkspaceId,
    hints: Box<dyn WakeUps>,
    last: Option<ChangeCursor>,
    /// Until the next look, before jitter.
    wait: Duration,
    poll: Duration,
}

impl Pump {
    async fn run(mut self, mut begin: watch::Receiver<Option<Option<ChangeCursor>>>, gone: CancellationToken) {
        tokio::select! {
            () = gone.cancelled() => return,
            place = begin.wait_for(Option::is_some) => match place {
                Ok(place) => self.last = (*place).flatten(),
                Err(_) => return,
            },
        }
        loop {
            tokio::select! {
                () = gone.cancelled() => return,
                () = self.hints.next() => self.wait = FEED_LOOK_AGAIN.min(self.poll),
                () = tokio::time::sleep(jittered(self.wait)) => self.wait = (self.wait * 2).min(self.poll),
            }
            if !self.read_on().await {
                return;
            }
        }
    }

    /// Reads the changes to their end and publishes what is new. False when nobody follows any more, or nothing can follow.
    async fn read_on(&mut self) -> bool {
        loop {
            let read = self.sessions.changes(self.workspace, self.last, FEED_PAGE).await;
            let Some(feed) = self.feed.upgrade() else { return false };
            match read.and_then(|rows| encode(&rows)) {
                Ok(frames) => {
                    let full = frames.len() >= FEED_PAGE as usize;
                    self.last = frames.last().map(|frame| frame.cursor).or(self.last);
                    if !frames.is_empty() {
                        feed.publish(|board| frames.into_iter().for_each(|frame| board.push(frame)));
                    }
                    if !full {
                        return true;
                    }
                }
                Err(error @ StoreError::Inconsistent { .. }) => {
                    tracing::error!(workspace.id = %self.workspace, %error, "a feed cannot go on");
                    feed.publish(|board| board.failed = Some(error.to_string()));
                    return false;
                }
                Err(error) => {
                    // Tried again with the next look; followers keep their heartbeat meanwhile.
                    tracing::warn!(workspace.id = %self.workspace, %error, "a feed waits for the store");
                    return true;
                }
            }
        }
    }
}

fn encode(rows: &[(ChangeCursor, SessionRow)]) -> Result<Vec<SessionFrame>, StoreError> {
    let frames = rows.iter().map(|(cursor, row)| {
        frame::session(*cursor, row).map_err(|error| StoreError::Inconsistent {
            table: "sessions",
            key: row.key.session.to_string(),
            message: error.to_string(),
        })
    });
    frames.collect()
}
