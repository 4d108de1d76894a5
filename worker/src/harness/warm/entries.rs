//! Who waits, and who of them can be missed.

use std::collections::HashMap;

use perennial_schema::SessionId;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Limits, Ticket, Waits};
use crate::limits;

/// All of them.
pub(super) struct Entries<T> {
    waiting: HashMap<SessionId, Entry<T>>,
    next: u64,
    /// Callers who found no slot.
    pub(super) queue: usize,
    /// Nobody may wait any more.
    pub(super) closed: bool,
}

/// One waiting process. Dropped, its keeper ends it.
pub(super) struct Entry<T> {
    pub(super) ticket: Ticket,
    pub(super) waits: Waits,
    pub(super) since: Instant,
    pub(super) bytes: u64,
    pub(super) process: Option<u32>,
    /// Sent: hand it over. Dropped: end it.
    pub(super) recall: oneshot::Sender<()>,
    pub(super) keeper: JoinHandle<Option<T>>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            next: 0,
            queue: 0,
            closed: false,
        }
    }
}

impl<T> Entries<T> {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    /// Returns the one before it.
    pub(super) fn put(&mut self, session: SessionId, entry: Entry<T>) -> Option<Entry<T>> {
        self.waiting.insert(session, entry)
    }

    /// The session's, if it has this ticket or any will do.
    pub(super) fn remove(&mut self, session: SessionId, ticket: Option<Ticket>) -> Option<Entry<T>> {
        let found = self.waiting.get(&session)?;
        if ticket.is_some_and(|ticket| ticket != found.ticket) {
            return None;
        }
        self.waiting.remove(&session)
    }

    pub(super) fn get(&self, session: SessionId) -> Option<&Entry<T>> {
        self.waiting.get(&session)
    }

    /// Notes how much memory a process has in use, if it still waits.
    pub(super) fn weigh(&mut self, session: SessionId, ticket: Ticket, bytes: u64) {
        if let Some(entry) = self.waiting.get_mut(&session)
            && entry.ticket == ticket
        {
            entry.bytes = bytes;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// From now on nobody may wait; returns who did.
    pub(super) fn close(&mut self) -> Vec<Entry<T>> {
        self.closed = true;
        self.waiting.drain().map(|(_, entry)| entry).collect()
    }

    /// Who has waited longest among those that can be missed: first those at rest, then those that wait for slow calls.
    pub(super) fn dispensable(&mut self) -> Option<Entry<T>> {
        let slow = |entry: &Entry<T>| entry.since.elapsed() >= limits::HARNESS_SLOW_CALL;
        let session = self
            .waiting
            .iter()
            .filter(|(_, entry)| entry.waits == Waits::ForTurn || slow(entry))
            .min_by_key(|(_, entry)| (entry.waits == Waits::ForResults, entry.since))
            .map(|(session, _)| *session)?;
        self.waiting.remove(&session)
    }

    /// Those at rest beyond the bounds, longest at rest first.
    pub(super) fn spare(&mut self, limits: &Limits) -> Vec<Entry<T>> {
        let mut resting: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, entry)| entry.waits == Waits::ForTurn)
            .map(|(session, entry)| (entry.since, entry.ticket.0, entry.bytes, *session))
            .collect();
        resting.sort_unstable_by_key(|(since, ticket, ..)| (*since, *ticket));
        let mut bytes: u64 = resting.iter().map(|(_, _, bytes, _)| bytes).sum();
        let mut count = resting.len();
        let mut spare = Vec::new();
        for (_, _, own, session) in resting {
            if count <= limits.resting && bytes <= limits.resting_bytes {
                break;
            }
            count -= 1;
            bytes -= own;
            spare.extend(self.waiting.remove(&session));
        }
        spare
    }
}
