//! The newest frames of a feed, in the order in which they were seen; bounded in number and bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::{RING_BYTES, RING_EVENTS};

/// Something ready to be written.
pub(super) trait Framed {
    /// As written.
    fn bytes(&self) -> &Bytes;
}

/// The frames. Positions count frames ever pushed.
#[derive(Debug)]
pub(super) struct Window<T> {
    items: VecDeque<T>,
    /// Position of the first frame held.
    base: u64,
    bytes: usize,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            base: 0,
            bytes: 0,
        }
    }
}

impl<T: Framed> Window<T> {
    /// Adds the newest and gives back the last one that fell off for it, if any did. One frame is always kept.
    pub(super) fn push(&mut self, item: T) -> Option<T> {
        self.bytes += item.bytes().len();
        self.items.push_back(item);
        let mut fallen = None;
        while self.items.len() > RING_EVENTS || (self.bytes > RING_BYTES && self.items.len() > 1) {
            let old = self.items.pop_front()?;
            self.bytes -= old.bytes().len();
            self.base += 1;
            fallen = Some(old);
        }
        fallen
    }

    /// The position of the oldest frame held.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// The position behind the newest frame.
    pub(super) fn end(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    /// The frame at a position, or none when it fell off or is yet to come.
    pub(super) fn get(&self, position: u64) -> Option<&T> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.items.get(index)
    }

    /// What is left when the first frames that answer yes are passed over. They must come before all that answer no.
    pub(super) fn behind(&self, passed: impl Fn(&T) -> bool) -> impl Iterator<Item = &T> {
        self.items.range(self.items.partition_point(passed)..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Framed for Bytes {
        fn bytes(&self) -> &Bytes {
            self
        }
    }

    fn frame(size: usize) -> Bytes {
        Bytes::from(vec![b'x'; size])
    }

    #[test]
    fn a_window_is_bounded_by_number_and_by_bytes() {
        let mut window = Window::default();
        for _ in 0..1000 {
            window.push(frame(10));
        }
        assert_eq!((window.items.len(), window.end()), (RING_EVENTS, 1000));
        assert!(window.get(0).is_none() && window.get(999).is_some() && window.get(1000).is_none());
        for _ in 0..100 {
            window.push(frame(RING_BYTES / 4));
        }
        assert!(window.bytes <= RING_BYTES && window.items.len() <= 4);
        let fallen = window.push(frame(RING_BYTES * 2));
        assert_eq!(
            (window.items.len(), fallen.map(|frame| frame.len())),
            (1, Some(RING_BYTES / 4))
        );
    }

    #[test]
    fn what_is_behind_a_place_is_found() {
        let mut window = Window::default();
        for size in 1..=5 {
            window.push(frame(size));
        }
        let rest: Vec<usize> = window.behind(|frame| frame.len() <= 3).map(Bytes::len).collect();
        assert_eq!(rest, [4, 5]);
    }
}
