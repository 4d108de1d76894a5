//! Processes that wait: in mid-turn for the results of their calls, or at rest for their session's next turn.
//!
//! They are caches of the log, kept within bounds: so many processes at once, so many of them at rest, so much memory, so
//! much time. One that is in the way is ended, the longest at rest first; whoever needs a process and finds none free waits.
//! Each waiting process is watched by a task of its own: one that ends or says what it should not leaves by itself.

mod entries;
mod keeper;
mod place;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use perennial_schema::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use self::entries::{Entries, Entry};
use self::keeper::Keeper;
pub(super) use self::place::Place;
use crate::limits;

/// How many processes, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processes at once, at work or waiting.
    pub processes: usize,
    /// Of them, at rest between turns.
    pub resting: usize,
    /// Memory of those at rest.
    pub resting_bytes: u64,
    /// Longest rest.
    pub rest: Duration,
    /// Memory of one process at work; beyond it, the attempt is ended.
    pub process_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: limits::HARNESS_PROCESSES,
            resting: limits::HARNESS_RESTING,
            resting_bytes: limits::HARNESS_RESTING_BYTES,
            rest: limits::HARNESS_REST,
            process_bytes: limits::HARNESS_PROCESS_BYTES,
        }
    }
}

/// The right to one process; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Something that may wait here.
#[async_trait]
pub(super) trait Waiter: Send + 'static {
    /// Ends when it is of no use any more, and says why. A future that is dropped half way loses nothing.
    async fn spoils(&mut self) -> String;

    /// Memory it has in use.
    fn resident_bytes(&self) -> u64;

    /// Its process, for people and tests.
    fn process_id(&self) -> Option<u32>;

    /// Ends it for good.
    async fn end(self);
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Results of its calls, in the middle of a turn.
    ForResults,
    /// The session's next turn.
    ForTurn,
}

/// Tells one wait of a session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// The waiting processes of a worker, at most one per session. Clones are the same pool.
pub(super) struct Pool<T>(Arc<Shared<T>>);

struct Shared<T> {
    limits: Limits,
    slots: Arc<Semaphore>,
    entries: Mutex<Entries<T>>,
}

impl<T: Waiter> Pool<T> {
    /// An empty pool.
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            slots: Arc::new(Semaphore::new(limits.processes.max(1))),
            entries: Mutex::default(),
        }))
    }

    /// The bounds.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The right to start a process. Whoever is at rest gives way, then whoever has long waited for results; a caller waits
    /// until one does or another ends.
    pub(super) async fn slot(&self) -> Slot {
        if let Ok(permit) = self.0.slots.clone().try_acquire_owned() {
            return Slot { _permit: Some(permit) };
        }
        let mut acquired = pin!(self.0.slots.clone().acquire_owned());
        let queued = Queued::behind(&self.0);
        let mut told = false;
        loop {
            let room = async {
                if self.make_room().await {
                    return true;
                }
                sleep(limits::HARNESS_QUEUE_PAUSE).await;
                false
            };
            tokio::select! {
                biased;
                // Never closed: an error cannot be.
                permit = &mut acquired => {
                    drop(queued);
                    return Slot { _permit: permit.ok() };
                }
                made = room => if !made && !told {
                    told = true;
                    info!(
                        harness.processes = self.0.limits.processes,
                        "all harness processes are at work; a turn waits for one to end"
                    );
                },
            }
        }
    }

    /// Ends somebody who can be missed; false when there is nobody.
    async fn make_room(&self) -> bool {
        let Some(entry) = self.0.entries().dispensable() else {
            return false;
        };
        debug!(harness.process = entry.process, "a waiting harness process makes room");
        drop(entry.recall);
        let _ = entry.keeper.await;
        true
    }

    /// Keeps a process until it is taken, ended, spoilt or in the way.
    pub(super) fn keep(&self, session: SessionId, waiter: T, waits: Waits) -> Ticket {
        let (recall, recalled) = oneshot::channel();
        let mut entries = self.0.entries();
        let ticket = entries.ticket();
        let process = waiter.process_id();
        let keeper = Keeper {
            pool: Arc::downgrade(&self.0),
            session,
            ticket,
            waits,
            rest: self.0.limits.rest,
        };
        let entry = Entry {
            ticket,
            waits,
            since: Instant::now(),
            bytes: 0,
            process,
            recall,
            keeper: tokio::spawn(keeper.watch(waiter, recalled)),
        };
        // A dropped entry is ended by its keeper: the one before it of this session, and this one if nobody may wait now.
        let refused = entries.closed || (waits == Waits::ForTurn && entries.queue > 0);
        let replaced = if refused {
            Some(entry)
        } else {
            entries.put(session, entry)
        };
        let spare = entries.spare(&self.0.limits);
        drop(entries);
        drop((replaced, spare));
        ticket
    }

    /// The session's process, if one waits that is still of use.
    pub(super) async fn take(&self, session: SessionId) -> Option<T> {
        let entry = self.0.entries().remove(session, None)?;
        entry.recall.send(()).ok()?;
        entry.keeper.await.ok()?
    }

    /// Ends this wait, if it lasts, and waits for the end.
    pub(super) async fn end(&self, session: SessionId, ticket: Ticket) {
        let entry = self.0.entries().remove(session, Some(ticket));
        if let Some(entry) = entry {
            drop(entry.recall);
            let _ = entry.keeper.await;
        }
    }

    /// Ends this wait in the background.
    pub(super) fn abandon(&self, session: SessionId, ticket: Ticket) {
        drop(self.0.entries().remove(session, Some(ticket)));
    }

    /// Ends all of them and keeps nobody from now on.
    pub(super) async fn close(&self) {
        let entries = self.0.entries().close();
        let keepers: Vec<_> = entries.into_iter().map(|entry| entry.keeper).collect();
        for keeper in keepers {
            let _ = keeper.await;
        }
    }

    /// The process that waits for this session, and what for.
    pub(super) fn waiting(&self, session: SessionId) -> Option<(Waits, Option<u32>)> {
        let entries = self.0.entries();
        entries.get(session).map(|entry| (entry.waits, entry.process))
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.entries().len()
    }
}

impl<T> Shared<T> {
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue for a slot.
struct Queued<T>(Arc<Shared<T>>);

impl<T> Queued<T> {
    fn behind(shared: &Arc<Shared<T>>) -> Self {
        shared.entries().queue += 1;
        Self(shared.clone())
    }
}

impl<T> Drop for Queued<T> {
    fn drop(&mut self) {
        self.0.entries().queue -= 1;
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
