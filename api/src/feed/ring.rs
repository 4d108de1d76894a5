//! The newest frames of a feed, events and previews in the order in which they were seen. Bounded in number and bytes.

use std::collections::VecDeque;

use perennial_engine::ports::Delta;
use perennial_schema::EventId;

use super::frame::{self, DeltaFrame, EventFrame};
use crate::limits::{FINISHED_PREVIEWS, RING_BYTES, RING_EVENTS};

/// What a ring holds.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(EventFrame),
    Delta(DeltaFrame),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Event(frame) => frame.bytes.len(),
            Self::Delta(frame) => frame.bytes.len(),
        }
    }
}

/// The ring. Positions count items ever pushed; seqs count events of the log.
#[derive(Debug, Default)]
pub(super) struct Ring {
    items: VecDeque<Item>,
    /// Position of the first item held.
    base: u64,
    bytes: usize,
    /// The newest event this feed has seen.
    last: u64,
    /// Events that were previewed and are finished: a straggling delta must not follow them.
    finished: VecDeque<EventId>,
    /// Why nothing can follow.
    failed: Option<String>,
}

impl Ring {
    pub(super) fn start(&mut self, head: u64) {
        self.last = head;
    }

    pub(super) fn push_event(&mut self, event: EventFrame) {
        self.last = event.seq;
        self.finished.push_back(event.id);
        if self.finished.len() > FINISHED_PREVIEWS {
            self.finished.pop_front();
        }
        self.push(Item::Event(event));
    }

    pub(super) fn push_delta(&mut self, delta: &Delta) {
        if !self.finished.contains(&delta.event_id) {
            self.push(Item::Delta(frame::delta(delta, self.last)));
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.items.push_back(item);
        while self.items.len() > RING_EVENTS || (self.bytes > RING_BYTES && self.items.len() > 1) {
            if let Some(old) = self.items.pop_front() {
                self.bytes -= old.len();
                self.base += 1;
            }
        }
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The position behind the newest item.
    pub(super) fn end(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    /// Where the first event beyond `seq` is, looking from `position` on.
    pub(super) fn event_after(&self, seq: u64, position: u64) -> Option<u64> {
        (position.max(self.base)..self.end())
            .find(|at| matches!(self.get(*at), Some(Item::Event(event)) if event.seq > seq))
    }

    /// The item at a position, or none when it fell off or is yet to come.
    pub(super) fn get(&self, position: u64) -> Option<&Item> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.items.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event(seq: u64, size: usize) -> EventFrame {
        EventFrame {
            seq,
            id: EventId::from_uuid(uuid::Uuid::from_u128(u128::from(seq))),
            extension: false,
            last: false,
            ends_previews: false,
            bytes: Bytes::from(vec![b'x'; size]),
        }
    }

    #[test]
    fn the_ring_is_bounded_by_number_and_by_bytes() {
        let mut ring = Ring::default();
        for seq in 1..=1000 {
            ring.push_event(event(seq, 10));
        }
        assert_eq!((ring.items.len(), ring.end(), ring.last()), (RING_EVENTS, 1000, 1000));
        assert!(ring.get(0).is_none() && ring.get(999).is_some() && ring.get(1000).is_none());
        for seq in 1001..=1100 {
            ring.push_event(event(seq, RING_BYTES / 4));
        }
        assert!(ring.bytes <= RING_BYTES && ring.items.len() <= 4);
        ring.push_event(event(1101, RING_BYTES * 2));
        assert_eq!(ring.items.len(), 1, "one frame is always kept");
    }

    #[test]
    fn no_delta_follows_its_final_event() {
        let mut ring = Ring::default();
        ring.push_event(event(1, 10));
        ring.push_delta(&Delta {
            event_id: EventId::from_uuid(uuid::Uuid::from_u128(1)),
            kind: "agent.message",
            n: 0,
            payload: Bytes::from_static(b"{}"),
        });
        assert_eq!(ring.end(), 1);
    }
}
