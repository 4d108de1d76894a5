//! Takes a provider's key out of what it answers: some repeat a wrong key in their error. Lengths stay as they are, so that
//! the answer's headers stay true.

use bytes::Bytes;
use memchr::memmem::Finder;

const INSTEAD: &[u8] = b"[the API key]";

/// Looks for a secret in a stream of pieces.
#[derive(Debug)]
pub(crate) struct Scrub {
    secret: Finder<'static>,
    /// The end of what came, as far as it may be the secret's beginning.
    held: Vec<u8>,
}

impl Scrub {
    pub(crate) fn new(secret: &str) -> Self {
        Self {
            secret: Finder::new(secret).into_owned(),
            held: Vec::new(),
        }
    }

    /// The next piece, without the secret. Its last bytes may have to wait for the next one.
    pub(crate) fn pass(&mut self, piece: Bytes) -> Bytes {
        let split = self.tail(&piece);
        // Almost always: nothing held, nothing found, the piece goes on as it is.
        if self.held.is_empty() && split == piece.len() && self.find(&piece).is_none() {
            return piece;
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(&piece);
        while let Some(at) = self.find(&whole) {
            let end = at + self.needle().len();
            whole[at..end].fill(if self.needle().len() >= INSTEAD.len() {
                b' '
            } else {
                b'*'
            });
            if self.needle().len() >= INSTEAD.len() {
                whole[at..at + INSTEAD.len()].copy_from_slice(INSTEAD);
            }
        }
        let split = self.tail(&whole);
        self.held = whole.split_off(split);
        Bytes::from(whole)
    }

    /// What was held when nothing more comes.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.held)))
    }

    fn find(&self, within: &[u8]) -> Option<usize> {
        // An empty secret would be found everywhere.
        let found = self.secret.find(within)?;
        (!self.needle().is_empty()).then_some(found)
    }

    fn needle(&self) -> &[u8] {
        self.secret.needle()
    }

    /// Where a beginning of the secret begins at the end of these bytes; their length if none does.
    fn tail(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.needle().len().saturating_sub(1));
        let begins = |at: &usize| self.needle().starts_with(&bytes[*at..]);
        (from..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-secret-0123456789";

    fn passed(secret: &str, text: &str, size: usize) -> String {
        let mut scrub = Scrub::new(secret);
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend_from_slice(&scrub.pass(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&scrub.rest().unwrap_or_default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_cut() {
        let text = format!("a sk-sec {SECRET} and {SECRET}{SECRET} sk-secret-012345678");
        let clean = text.replace(SECRET, "[the API key]       ");
        assert_eq!(clean.len(), text.len());
        for size in 1..=text.len() {
            assert_eq!(passed(SECRET, &text, size), clean, "{size}");
        }
        assert_eq!(passed("12345678", "x 12345678 y", 3), "x ******** y");
    }

    #[test]
    fn other_bytes_pass_at_once() {
        let mut scrub = Scrub::new(SECRET);
        let piece = Bytes::from_static(b"data: {\"text\":\"hello\"}\n\n");
        let passed = scrub.pass(piece.clone());
        assert_eq!(passed.as_ptr(), piece.as_ptr(), "not even copied");
        assert!(scrub.rest().is_none());
    }
}
