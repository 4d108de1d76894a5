//! One client of a feed: its place in the log, what it wants to see, and the previews it follows.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use perennial_engine::ports::{ReadFrom, StoreError};
use perennial_schema::EventId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Feed;
use super::ring::Item;
use crate::feed::frame::{self, DeltaFrame, EventFrame};
use crate::feed::{Counted, retry_millis};
use crate::limits::{CATCH_UP_EVENTS, OPEN_PREVIEWS, RING_BYTES};

/// What a client asked to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Our extension events too.
    pub extensions: bool,
    /// Previews of these event types.
    pub previews: Vec<&'static str>,
}

/// A client's place.
pub(crate) struct Subscriber {
    feed: Arc<Feed>,
    changed: watch::Receiver<u64>,
    shutdown: CancellationToken,
    selection: Selection,
    /// Newest event handed on (or filtered out).
    last: u64,
    /// Next ring position to look at.
    position: u64,
    /// Previews under way and the piece each expects next.
    open: Vec<(EventId, u64)>,
    /// Frames ready to be written.
    ready: VecDeque<Bytes>,
    /// Nothing follows what is ready. Also set when the session was over at this seq before we came.
    over: bool,
    over_at: Option<u64>,
    beat: Instant,
    _counted: Counted,
}

impl Subscriber {
    /// Takes a place behind `after`, which is at most `head`, the log's head read after the feed was joined. `over_at` is the
    /// head of a session that takes no more events.
    pub(crate) fn new(
        feed: Arc<Feed>,
        head: u64,
        after: u64,
        over_at: Option<u64>,
        selection: Selection,
        shutdown: CancellationToken,
    ) -> Self {
        feed.begin_at(head);
        let changed = feed.changed.subscribe();
        let position = feed.ring().end();
        let beat = Instant::now() + feed.limits.heartbeat;
        let retry = retry_millis(&feed.limits);
        Self {
            feed,
            changed,
            shutdown,
            selection,
            last: after,
            position,
            open: Vec::new(),
            ready: VecDeque::from([frame::hello(retry)]),
            over: over_at.is_some_and(|end| after >= end),
            over_at,
            beat,
            _counted: Counted::new(),
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
            if self.take_from_ring() {
                continue;
            }
            let mut wake = self.beat;
            if self.last < self.feed.ring().last() {
                if self.catch_up().await {
                    continue;
                }
                wake = wake.min(Instant::now() + self.feed.limits.poll);
            } else if self.over_at.is_some_and(|end| self.last >= end) {
                self.over = true;
                continue;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                changed = self.changed.changed() => if changed.is_err() { return None },
                () = sleep_until(wake) => if Instant::now() >= self.beat { self.ready.push_back(frame::heartbeat()); },
            }
        }
    }

    /// Moves what the ring holds for us to `ready`. False when there was nothing to move on by.
    fn take_from_ring(&mut self) -> bool {
        let feed = Arc::clone(&self.feed);
        let ring = feed.ring();
        if let Some(reason) = ring.failure()
            && self.position >= ring.end()
        {
            self.ready.push_back(frame::error(reason));
            self.over = true;
            return true;
        }
        let mut moved = false;
        while !self.over {
            match ring.get(self.position) {
                Some(Item::Event(event)) if event.seq > self.last + 1 => return moved,
                Some(Item::Event(event)) => self.take_event(event),
                Some(Item::Delta(delta)) => self.take_delta(delta),
                None => break,
            }
            self.position += 1;
            moved = true;
        }
        moved
    }

    fn take_event(&mut self, event: &EventFrame) {
        if event.seq != self.last + 1 {
            return;
        }
        self.last = event.seq;
        if event.ends_previews {
            self.open.clear();
        } else {
            self.open.retain(|(id, _)| *id != event.id);
        }
        if !event.extension || self.selection.extensions {
            self.ready.push_back(event.bytes.clone());
        }
        self.over |= event.last;
    }

    /// Hands on a contiguous prefix of a preview: who missed a piece gets no more of that event.
    fn take_delta(&mut self, delta: &DeltaFrame) {
        if !self.selection.previews.contains(&delta.kind) || delta.after != self.last {
            return;
        }
        let place = self.open.iter().position(|(id, _)| *id == delta.event_id);
        match place {
            None if delta.n == 0 && self.open.len() < OPEN_PREVIEWS => self.open.push((delta.event_id, 1)),
            Some(place) if self.open.get(place).is_some_and(|(_, next)| *next == delta.n) => {
                if let Some((_, next)) = self.open.get_mut(place) {
                    *next += 1;
                }
            }
            Some(place) => {
                self.open.swap_remove(place);
                return;
            }
            None => return,
        }
        self.ready.push_back(delta.bytes.clone());
    }

    /// Reads the log where the ring does not reach back to. False when the log cannot answer now.
    async fn catch_up(&mut self) -> bool {
        // We missed a part of the ring, and with it pieces of whatever was being previewed.
        self.open.clear();
        let (log, key) = (Arc::clone(&self.feed.log), self.feed.key);
        let from = ReadFrom {
            after: self.last,
            limit: CATCH_UP_EVENTS,
        };
        // In its own task: this future is dropped when the client hangs up.
        let read = tokio::spawn(async move { log.read(key, from).await });
        match read.await {
            Ok(Ok(records)) => {
                let mut bytes = 0;
                let before = self.last;
                for record in &records {
                    let event = frame::event(record);
                    bytes += event.bytes.len();
                    if self.over || (bytes > RING_BYTES && self.last > before) {
                        break;
                    }
                    self.take_event(&event);
                }
                self.rejoin();
                self.last > before
            }
            Ok(Err(error @ StoreError::Inconsistent { .. })) => {
                self.ready.push_back(frame::error(&error.to_string()));
                self.over = true;
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(session.id = %key.session, %error, "a stream waits for the log");
                false
            }
            Err(_) => false,
        }
    }

    /// Goes on in the ring: at our next event if the ring holds it, else behind all it holds. Pieces of previews passed on
    /// the way are not shown: their `after` is not where we are.
    fn rejoin(&mut self) {
        let ring = self.feed.ring();
        self.position = ring.event_after(self.last, self.position).unwrap_or_else(|| ring.end());
    }
}
