//! Output of endless commands in bounded memory: the head and the tail are kept, what is between is counted.

use std::collections::VecDeque;

use perennial_schema::text;

/// The kept part of a byte stream.
#[derive(Debug)]
pub(crate) struct Capture {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Capture {
    /// Keeps at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            half: limit / 2,
            head: Vec::new(),
            tail: VecDeque::new(),
            total: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = (self.half - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        let kept = &rest[rest.len().saturating_sub(self.half)..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(self.half);
        self.tail.drain(..excess);
        self.tail.extend(kept);
    }

    /// The text so far, safe to store, never longer than the limit plus one line about what is missing. Empties the capture.
    pub(crate) fn take(&mut self) -> String {
        let head = std::mem::take(&mut self.head);
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        let omitted = self.total - head.len() as u64 - tail.len() as u64;
        self.total = 0;
        if omitted == 0 {
            let whole = [head, tail].concat();
            return text::head_and_tail(&text::sanitize(&whole), self.half * 2);
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

fn without_torn_end(bytes: &[u8]) -> &[u8] {
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
