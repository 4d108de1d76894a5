//! One session's log as a stream, with previews of what is not finished yet.
//!
//! Contiguity is checked on the unfiltered log; what a client does not want is dropped afterwards.

mod ring;
mod subscriber;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use perennial_engine::ports::{Log, Notice, ReadFrom, SessionKey, StoreError, Subscription};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::ring::Ring;
pub(crate) use self::subscriber::{Selection, Subscriber};
use super::{frame, jittered};
use crate::limits::{CATCH_UP_EVENTS, Limits};

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

/// A feed, and the task behind it. It waits until the first subscriber says where to begin.
pub(super) fn open(
    key: SessionKey,
    log: &Arc<dyn Log>,
    subscription: Box<dyn Subscription>,
    limits: Limits,
) -> (Arc<Feed>, impl Future<Output = ()> + use<>) {
    let feed = Arc::new(Feed {
        key,
        log: Arc::clone(log),
        ring: Mutex::default(),
        changed: watch::Sender::new(0),
        begin: watch::Sender::new(None),
        gone: CancellationToken::new(),
        limits,
    });
    let pump = Pump {
        feed: Arc::downgrade(&feed),
        log: Arc::clone(log),
        key,
        subscription,
        last: 0,
        limits,
    };
    let running = pump.run(feed.begin.subscribe(), feed.gone.clone());
    (feed, running)
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
