//! Event streams: one feed per session, shared by everybody who watches it.
//!
//! ```text
//! bus hints ─┐
//! poll ──────┼─▶ Feed: reads the log behind the hint, encodes frames once ─▶ ring ─▶ Subscriber ─▶ socket
//! deltas ────┘                                                               (bounded)   └─ behind? reads the log itself
//! ```
//!
//! The ring holds the newest frames. A subscriber keeps its own place: who is slow falls off the ring and reads the log until
//! it meets the ring again, so nobody is skipped and nobody costs more than a page (INVARIANTS I11, F32). Contiguity is
//! checked on the unfiltered log; what a client does not want is dropped afterwards.

mod frame;
mod ring;
mod subscriber;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use perennial_engine::ports::{Bus, Log, Notice, ReadFrom, SessionKey, StoreError, Subscription};
use rand::Rng as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ring::Ring;
pub(crate) use self::subscriber::{Selection, Subscriber};
use crate::limits::{CATCH_UP_EVENTS, Limits};

/// All feeds of this process.
pub(crate) struct Hub {
    log: Arc<dyn Log>,
    bus: Arc<dyn Bus>,
    tracker: TaskTracker,
    limits: Limits,
    feeds: Mutex<HashMap<SessionKey, Weak<Feed>>>,
}

/// One session's feed; ends when the last subscriber drops it.
pub(crate) struct Feed {
    key: SessionKey,
    log: Arc<dyn Log>,
    ring: Mutex<Ring>,
    /// Grows with every change of the ring.
    changed: watch::Sender<u64>,
    /// The first subscriber says where the log's head was after the bus was subscribed.
    begin: watch::Sender<Option<u64>>,
    gone: CancellationToken,
    limits: Limits,
}

impl Hub {
    pub(crate) fn new(log: Arc<dyn Log>, bus: Arc<dyn Bus>, tracker: TaskTracker, limits: Limits) -> Self {
        Self {
            log,
            bus,
            tracker,
            limits,
            feeds: Mutex::default(),
        }
    }

    /// The session's feed. On return the bus is subscribed: read the head now, and nothing falls in between.
    pub(crate) fn join(&self, key: SessionKey) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed {
            key,
            log: Arc::clone(&self.log),
            ring: Mutex::default(),
            changed: watch::Sender::new(0),
            begin: watch::Sender::new(None),
            gone: CancellationToken::new(),
            limits: self.limits,
        });
        feeds.insert(key, Arc::downgrade(&feed));
        let pump = Pump {
            feed: Arc::downgrade(&feed),
            log: Arc::clone(&self.log),
            key,
            subscription: self.bus.subscribe(key),
            last: 0,
            limits: self.limits,
        };
        self.tracker.spawn(pump.run(feed.begin.subscribe(), feed.gone.clone()));
        feed
    }

    /// Feeds somebody watches.
    pub(crate) fn open(&self) -> usize {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.values().filter(|feed| feed.strong_count() > 0).count()
    }
}

impl Feed {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the feed at the head its first subscriber saw.
    fn begin_at(&self, head: u64) {
        self.begin.send_if_modified(|begin| {
            let first = begin.is_none();
            if first {
                *begin = Some(head);
                self.ring().start(head);
            }
            first
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Ring)) {
        change(&mut self.ring());
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// The task behind a feed. Holds it weakly, so that it ends with the last subscriber.
struct Pump {
    feed: Weak<Feed>,
    log: Arc<dyn Log>,
    key: SessionKey,
    subscription: Box<dyn Subscription>,
    last: u64,
    limits: Limits,
}

impl Pump {
    async fn run(mut self, mut begin: watch::Receiver<Option<u64>>, gone: CancellationToken) {
        tokio::select! {
            () = gone.cancelled() => return,
            head = begin.wait_for(Option::is_some) => match head {
                Ok(head) => self.last = head.unwrap_or_default(),
                Err(_) => return,
            },
        }
        let mut bus_alive = true;
        loop {
            let wait = jittered(self.limits.poll);
            let look = tokio::select! {
                () = gone.cancelled() => return,
                notice = self.subscription.next(), if bus_alive => match notice {
                    Some(Notice::Hint { seq }) => seq > self.last,
                    Some(Notice::Lagged) => true,
                    Some(Notice::Delta(delta)) => {
                        let Some(feed) = self.feed.upgrade() else { return };
                        feed.publish(|ring| ring.push_delta(&delta));
                        false
                    }
                    // The bus is gone: the poll alone carries the feed.
                    None => { bus_alive = false; false }
                },
                () = tokio::time::sleep(wait) => true,
            };
            if look && !self.read_on().await {
                return;
            }
        }
    }

    /// Reads the log to its end and publishes what is new. False when nobody watches any more, or nothing can follow.
    async fn read_on(&mut self) -> bool {
        loop {
            let from = ReadFrom {
                after: self.last,
                limit: CATCH_UP_EVENTS,
            };
            let read = self.log.read(self.key, from).await;
            let Some(feed) = self.feed.upgrade() else { return false };
            match read {
                Ok(records) if records.is_empty() => return true,
                Ok(records) => {
                    let full = records.len() >= CATCH_UP_EVENTS as usize;
                    for record in &records {
                        if record.seq == self.last + 1 {
                            self.last = record.seq;
                            feed.publish(|ring| ring.push_event(frame::event(record)));
                        }
                    }
                    if !full {
                        return true;
                    }
                }
                Err(error @ StoreError::Inconsistent { .. }) => {
                    tracing::error!(session.id = %self.key.session, %error, "a feed cannot go on");
                    feed.publish(|ring| ring.fail(error.to_string()));
                    return false;
                }
                Err(error) => {
                    // Tried again with the next poll; subscribers keep their heartbeat meanwhile.
                    tracing::warn!(session.id = %self.key.session, %error, "a feed waits for the log");
                    return true;
                }
            }
        }
    }
}

/// Three quarters to the whole of a duration, so that many feeds do not poll at the same moment.
fn jittered(whole: Duration) -> Duration {
    whole.mul_f64(rand::rng().random_range(0.75..1.0))
}
