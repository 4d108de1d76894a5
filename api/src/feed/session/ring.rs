//! The newest frames of a session, events and previews in the order in which they were seen.

use std::collections::VecDeque;

use bytes::Bytes;
use perennial_engine::ports::Delta;
use perennial_schema::EventId;

use crate::feed::frame::{self, DeltaFrame, EventFrame};
use crate::feed::window::{Framed, Window};
use crate::limits::FINISHED_PREVIEWS;

/// What a ring holds.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(EventFrame),
    Delta(DeltaFrame),
}

impl Framed for Item {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Event(frame) => &frame.bytes,
            Self::Delta(frame) => &frame.bytes,
        }
    }
}

/// The ring. Positions count items ever pushed; seqs count events of the log.
#[derive(Debug, Default)]
pub(super) struct Ring {
    window: Window<Item>,
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
        self.window.push(Item::Event(event));
    }

    pub(super) fn push_delta(&mut self, delta: &Delta) {
        if !self.finished.contains(&delta.event_id) {
            self.window.push(Item::Delta(frame::delta(delta, self.last)));
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The position behind the newest item.
    pub(super) fn end(&self) -> u64 {
        self.window.end()
    }

    /// Where the first event beyond `seq` is, looking from `position` on.
    pub(super) fn event_after(&self, seq: u64, position: u64) -> Option<u64> {
        (position.max(self.window.base())..self.end())
            .find(|at| matches!(self.get(*at), Some(Item::Event(event)) if event.seq > seq))
    }

    /// The item at a position, or none when it fell off or is yet to come.
    pub(super) fn get(&self, position: u64) -> Option<&Item> {
        self.window.get(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
