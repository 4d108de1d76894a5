//! Reading along with a compressed answer.

use std::io::Write as _;

use flate2::write::MultiGzDecoder;

use crate::limits::{INFLATE_STEP, INFLATED_BYTES};

/// Unfolds gzip piece by piece, up to a bound.
#[derive(Debug)]
pub(super) struct Inflate {
    decoder: MultiGzDecoder<Vec<u8>>,
    left: u64,
}

/// An answer that is no gzip, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Inflate {
    pub(super) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            left: INFLATED_BYTES,
        }
    }

    /// Gives what a piece unfolds to, step by step.
    pub(super) fn feed(&mut self, piece: &[u8], mut heard: impl FnMut(&[u8])) -> Result<(), Unreadable> {
        for step in piece.chunks(INFLATE_STEP) {
            let written = self.decoder.write_all(step).and_then(|()| self.decoder.flush());
            let plain = std::mem::take(self.decoder.get_mut());
            self.left = self.left.checked_sub(plain.len() as u64).ok_or(Unreadable)?;
            heard(&plain);
            written.map_err(|_| Unreadable)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn pieces_unfold_as_they_come_and_nonsense_does_not() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"one ").unwrap();
        encoder.flush().unwrap();
        let first = encoder.get_ref().len();
        encoder.write_all(b"two").unwrap();
        let packed = encoder.finish().unwrap();
        let (mut inflate, mut plain) = (Inflate::new(), Vec::new());
        inflate
            .feed(&packed[..first], |bytes| plain.extend_from_slice(bytes))
            .unwrap();
        assert_eq!(plain, b"one ");
        inflate
            .feed(&packed[first..], |bytes| plain.extend_from_slice(bytes))
            .unwrap();
        assert_eq!(plain, b"one two");
        assert_eq!(Inflate::new().feed(b"not gzip at all", |_| {}), Err(Unreadable));
    }

    #[test]
    fn a_bomb_is_left_alone() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..=(INFLATED_BYTES >> 20) {
            encoder.write_all(&zeros).unwrap();
        }
        let packed = encoder.finish().unwrap();
        let (mut inflate, mut most) = (Inflate::new(), 0);
        assert_eq!(
            inflate.feed(&packed, |bytes| most = most.max(bytes.len())),
            Err(Unreadable)
        );
        assert!(most < 8 << 20, "{most} bytes at once");
    }
}
