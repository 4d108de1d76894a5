//! One client of a workspace's feed: its place among the changes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use perennial_engine::ports::{ChangeCursor, StoreError};
use perennial_schema::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Feed, Place, encode};
use crate::feed::frame::{self, SessionFrame};
use crate::feed::{Counted, retry_millis};
use crate::limits::{CATCH_UP_EVENTS, FEED_FORGETS, FEED_PAGE};

/// A client's place.
pub(crate) struct Follower {
    feed: Arc<Feed>,
    changed: watch::Receiver<u64>,
    shutdown: CancellationToken,
    /// Newest change handed on; none before the first.
    place: Option<ChangeCursor>,
    /// Until all there was has been told: tombstones older than this are left out, for who never heard of those sessions.
    spared: Option<Timestamp>,
    /// Whether it has read to the end once. Before, the board would tell it again what it is about to read.
    caught_up: bool,
    /// Whether it was told that what follows is news.
    live: bool,
    /// Frames ready to be written.
    ready: VecDeque<Bytes>,
    over: bool,
    beat: Instant,
    _counted: Counted,
}

/// What the board has for a follower.
enum Look {
    /// Frames were taken.
    Taken,
    /// The board does not reach back so far.
    Behind,
    /// Nothing is new.
    Current,
}

impl Follower {
    /// Takes a place behind `after`; without one, all sessions come first. `now` tells old tombstones from new ones.
    pub(crate) fn new(feed: Arc<Feed>, after: Option<Place>, now: Timestamp, shutdown: CancellationToken) -> Self {
        let changed = feed.changed.subscribe();
        let beat = Instant::now() + feed.limits.heartbeat;
        let hello = frame::hello(retry_millis(&feed.limits));
        let forgets = i64::try_from(FEED_FORGETS.as_micros()).unwrap_or(i64::MAX);
        Self {
            changed,
            shutdown,
            place: after.map(|Place(cursor)| cursor),
            spared: after
                .is_none()
                .then(|| Timestamp::from_micros(now.micros().saturating_sub(forgets))),
            caught_up: false,
            live: false,
            ready: VecDeque::from([hello]),
            over: false,
            beat,
            _counted: Counted::new(),
            feed,
        }
    }

    /// The next frame; none when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.beat = Instant::now() + self.feed.limits.heartbeat;
                return Some(frame);
            }
            if self.over || self.shutdown.is_cancelled() {
                return None;
            }
            // Seen before looking, so that a change during the look wakes us.
            self.changed.borrow_and_update();
            let mut wake = self.beat;
            match self.look() {
                Look::Taken => continue,
                Look::Behind => {
                    if self.catch_up().await {
                        continue;
                    }
                    wake = wake.min(Instant::now() + self.feed.limits.poll);
                }
                Look::Current if !self.live => {
                    self.live = true;
                    self.spared = None;
                    self.ready.push_back(frame::live());
                    continue;
                }
                Look::Current => {}
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                changed = self.changed.changed() => if changed.is_err() { return None },
                () = sleep_until(wake) => if Instant::now() >= self.beat { self.ready.push_back(frame::heartbeat()); },
            }
        }
    }

    /// Takes what the board has for us.
    fn look(&mut self) -> Look {
        let feed = Arc::clone(&self.feed);
        let board = feed.board();
        if !self.caught_up || board.floor.is_none_or(|floor| self.place < floor) {
            return Look::Behind;
        }
        let mut taken = Look::Current;
        let place = self.place;
        let news = board.window.behind(|frame| Some(frame.cursor) <= place);
        for frame in news.take(CATCH_UP_EVENTS as usize) {
            self.take(frame);
            taken = Look::Taken;
        }
        if let (Look::Current, Some(reason)) = (&taken, &board.failed) {
            self.fail(reason);
            return Look::Taken;
        }
        taken
    }

    fn take(&mut self, frame: &SessionFrame) {
        self.place = Some(frame.cursor);
        if frame.deleted_at.is_none_or(|at| Some(at) >= self.spared) {
            self.ready.push_back(frame.bytes.clone());
        }
    }

    fn fail(&mut self, reason: &str) {
        self.ready.push_back(frame::error(reason));
        self.over = true;
    }

    /// Reads where the board does not reach back to. False when the store cannot answer now.
    async fn catch_up(&mut self) -> bool {
        // A page that is not full holds everything up to here, and more.
        let floor = self.feed.board().floor.flatten();
        match self.feed.read(self.place).await.and_then(|rows| encode(&rows)) {
            Ok(frames) => {
                let full = frames.len() >= FEED_PAGE as usize;
                frames.iter().for_each(|frame| self.take(frame));
                if !full {
                    self.caught_up = true;
                    self.place = self.place.max(floor);
                    self.feed.begin_at(self.place);
                }
                true
            }
            Err(error @ StoreError::Inconsistent { .. }) => {
                self.fail(&error.to_string());
                true
            }
            Err(error) => {
                tracing::warn!(workspace.id = %self.feed.workspace, %error, "a feed's follower waits for the store");
                false
            }
        }
    }
}
