//! What a process says on stdout: lines of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest line: the largest result we hand in, and as much again for what is around it.
const LINE_BYTES: usize = 32 * 1024 * 1024;

/// A line that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(in crate::harness) enum LineError {
    /// Reading failed.
    #[error("reading from the process failed: {0}")]
    Read(#[from] std::io::Error),
    /// Too long.
    #[error("a line is longer than {LINE_BYTES} bytes")]
    TooLong,
}

/// Reads lines; a future that is dropped half way loses nothing.
#[derive(Debug)]
pub(in crate::harness) struct Lines<R> {
    from: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(in crate::harness) const fn new(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next line that is not blank; none at the end.
    pub(in crate::harness) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if self.line.len() + taken > LINE_BYTES {
                return Err(LineError::TooLong);
            }
            self.line.extend_from_slice(&available[..taken]);
            self.from.consume(taken);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if !line.iter().all(u8::is_ascii_whitespace) {
                    return Ok(Some(line));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut_and_end_cleanly() {
        let text = b"one\n\ntwo\ncut";
        for size in [1, 3, text.len()] {
            let mut lines = Lines::new(tokio::io::BufReader::with_capacity(size, &text[..]));
            assert_eq!(lines.next().await.unwrap().unwrap(), b"one\n");
            assert_eq!(lines.next().await.unwrap().unwrap(), b"two\n");
            assert_eq!(lines.next().await.unwrap(), None, "half a line is no line");
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let text = vec![b'x'; LINE_BYTES + 1];
        let mut lines = Lines::new(&text[..]);
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
    }
}
