//! What a terminal showed last: a bounded piece of it, which everybody who looks on reads at their own pace.

use std::collections::VecDeque;

use bytes::Bytes;

/// The end of all that was shown.
#[derive(Debug)]
pub(super) struct Screen {
    shown: VecDeque<u8>,
    most: usize,
    /// How much was shown before what is kept.
    before: u64,
    ended: Option<i32>,
}

/// What is next for somebody who has seen so much.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These, after so many that are gone.
    Bytes { skipped: u64, bytes: Bytes },
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Ended(i32),
}

impl Screen {
    pub(super) fn new(most: usize) -> Self {
        Self {
            shown: VecDeque::new(),
            most,
            before: 0,
            ended: None,
        }
    }

    pub(super) fn show(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.most)..];
        let gone = (self.shown.len() + kept.len()).saturating_sub(self.most);
        self.shown.drain(..gone);
        self.before += (gone + bytes.len() - kept.len()) as u64;
        self.shown.extend(kept);
    }

    pub(super) fn end(&mut self, code: i32) {
        self.ended = Some(code);
    }

    /// From where somebody begins who comes now.
    pub(super) const fn begin(&self) -> u64 {
        self.before
    }

    /// At most so many bytes.
    pub(super) fn next(&self, seen: u64, most: usize) -> Next {
        let skipped = self.before.saturating_sub(seen);
        let at = usize::try_from(seen.saturating_sub(self.before)).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = self.shown.iter().skip(at).take(most).copied().collect();
        match self.ended {
            _ if !bytes.is_empty() => Next::Bytes {
                skipped,
                bytes: bytes.into(),
            },
            Some(code) => Next::Ended(code),
            None => Next::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(skipped: u64, text: &'static str) -> Next {
        Next::Bytes {
            skipped,
            bytes: Bytes::from_static(text.as_bytes()),
        }
    }

    #[test]
    fn the_end_is_kept_and_who_is_slow_hears_of_what_is_gone() {
        let mut screen = Screen::new(4);
        assert_eq!(screen.next(0, 9), Next::Nothing);
        screen.show(b"abc");
        assert_eq!(screen.next(0, 2), bytes(0, "ab"));
        assert_eq!(screen.next(2, 9), bytes(0, "c"));
        screen.show(b"def");
        assert_eq!((screen.begin(), screen.next(1, 9)), (2, bytes(1, "cdef")));
        screen.show(b"0123456789");
        assert_eq!((screen.begin(), screen.next(6, 9)), (12, bytes(6, "6789")));
        screen.end(7);
        assert_eq!(screen.next(12, 9), bytes(0, "6789"));
        assert_eq!(screen.next(16, 9), Next::Ended(7));
    }
}
