//! Output of endless commands in bounded memory: the head and the tail are kept, what is between is counted, and what is too
//! long for an event goes to a file as a whole.

use std::collections::VecDeque;

use perennial_schema::text;
use perennial_schema::tool::Whole;

use crate::blot::Blot;
use crate::outputs::Spool;

/// The kept part of a byte stream.
#[derive(Debug)]
pub(crate) struct Capture {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    /// Where all of it goes once it is too long.
    spool: Option<Spool>,
    /// What is kept out of it.
    blot: Blot,
}

impl Capture {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            half: limit / 2,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
            spool: None,
            blot: Blot::default(),
        }
    }

    /// The same, without some values.
    pub(crate) fn without(self, blot: Blot) -> Self {
        Self { blot, ..self }
    }

    /// The same, and the whole goes to a file when it is longer.
    pub(crate) fn spooled(limit: usize, spool: Spool) -> Self {
        Self {
            spool: Some(spool),
            ..Self::new(limit)
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.blot.is_empty() {
            return self.keep(bytes);
        }
        let passed = self.blot.push(bytes);
        self.keep(&passed);
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.total > 2 * self.half as u64 {
            self.spool(bytes);
        }
        let room = (self.half - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        let kept = &rest[rest.len().saturating_sub(self.half)..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(self.half);
        self.tail.drain(..excess);
        self.tail.extend(kept);
    }

    /// Moves what is in memory to the file first: up to here it is all there was.
    fn spool(&mut self, bytes: &[u8]) {
        let Some(spool) = &mut self.spool else { return };
        if !spool.is_used() {
            spool.push(&self.head);
            let (front, back) = self.tail.as_slices();
            spool.push(front);
            spool.push(back);
        }
        spool.push(bytes);
    }

    /// What the file has of it, if it is too long for an event.
    pub(crate) fn whole(&self) -> Option<Whole> {
        self.spool.as_ref().and_then(Spool::whole)
    }

    /// The text so far, safe to store, never longer than the limit plus one line about what is missing. Empties the capture.
    pub(crate) fn take(&mut self) -> String {
        let held = self.blot.finish();
        self.keep(&held);
        let head = std::mem::take(&mut self.head);
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let omitted = self.total - head.len() as u64 - tail.len() as u64;
        self.total = 0;
        if omitted == 0 {
            let whole = [head, tail].concat();
            let text = text::sanitize(&whole);
            if text.len() > self.half * 2
                && let Some(spool) = &mut self.spool
            {
                spool.push(&whole);
            }
            return text::head_and_tail(&text, self.half * 2);
        }
        // Cut at character borders, so that a cut is not mistaken for foreign bytes. Replacement characters make text longer
        // than its bytes, hence the second cut.
        let head = text::sanitize(without_torn_end(&head));
        let tail = text::sanitize(without_torn_start(&tail));
        let head = &head[..head.floor_char_boundary(self.half)];
        let tail = &tail[tail.ceil_char_boundary(tail.len().saturating_sub(self.half))..];
        format!("{head}\n[… {omitted} bytes omitted …]\n{tail}")
    }
}

/// Without the beginning of a character at its end.
pub(crate) fn without_torn_end(bytes: &[u8]) -> &[u8] {
    let torn = (1..=bytes.len().min(3)).find(|back| bytes[bytes.len() - back] >= 0xC0);
    match torn {
        Some(back) if std::str::from_utf8(&bytes[bytes.len() - back..]).is_err() => &bytes[..bytes.len() - back],
        _ => bytes,
    }
}

fn without_torn_start(bytes: &[u8]) -> &[u8] {
    let torn = bytes.iter().take(3).take_while(|byte| (**byte & 0xC0) == 0x80).count();
    &bytes[torn..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_is_verbatim_but_safe() {
        let mut capture = Capture::new(100);
        capture.push(b"a\0b");
        capture.push(b"\xffc");
        assert_eq!(capture.take(), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(capture.take(), "");
    }

    #[test]
    fn long_output_keeps_both_ends_and_counts_the_rest() {
        let mut capture = Capture::new(100);
        for n in 0..10_000 {
            capture.push(format!("{n:05}é").as_bytes());
        }
        let text = capture.take();
        assert!(text.starts_with("00000é00001é") && text.ends_with("09999é"), "{text}");
        assert!(!text.contains('\u{FFFD}'), "{text}");
        assert!(text.len() < 160 && text.contains("[… 69900 bytes omitted …]"), "{text}");
    }

    #[test]
    fn long_output_is_whole_in_a_file() {
        let data = tempfile::tempdir().unwrap();
        let outputs = crate::outputs::Outputs::open(data.path()).unwrap();
        let ids = (
            perennial_schema::SessionId::from_uuid(uuid::Uuid::nil()),
            perennial_schema::EventId::from_uuid(uuid::Uuid::nil()),
        );
        let check = |bytes: &[u8], step: usize, long: bool| {
            let mut capture = Capture::spooled(100, outputs.spool(ids.0, ids.1));
            bytes.chunks(step).for_each(|piece| capture.push(piece));
            let shown = capture.take();
            let kept = capture.whole().map(|whole| whole.kept);
            assert_eq!(kept, long.then_some(bytes.len() as u64), "{shown}");
            assert_eq!(
                shown.contains("omitted"),
                long,
                "what is not shown is kept, and nothing else is"
            );
            if long {
                assert_eq!(outputs.read(ids.0, ids.1, 0).unwrap().unwrap(), bytes);
            }
        };
        for step in [1, 7, 1000] {
            check(&[b'x'; 100], step, false);
            check(&[b'x'; 101], step, true);
            check(&(0..=255).collect::<Vec<u8>>(), step, true);
        }
        // Short as bytes, long as text.
        check(&[0xff; 90], 10, true);
    }

    #[test]
    fn one_big_push_is_cut_like_many() {
        let mut capture = Capture::new(10);
        capture.push(b"0123456789abcdef");
        assert_eq!(capture.take(), "01234\n[… 6 bytes omitted …]\nbcdef");
    }

    #[test]
    fn replacement_characters_do_not_break_the_limit() {
        let mut capture = Capture::new(1000);
        capture.push(&vec![0xff; 100_000]);
        assert!(capture.take().len() < 1100);
    }
}
