//! What travels on the stream of a terminal: bytes both ways, and a word between them, in [pieces](crate::piece).

use std::io;

use bytes::Bytes;
use perennial_schema::stream::TerminalSize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::limits::TERMINAL_PIECE_BYTES;
use crate::piece;

/// Something that was said on a terminal's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Typed, or shown. At most [`TERMINAL_PIECE_BYTES`].
    Bytes(Bytes),
    /// It has another size from here on.
    Resize(TerminalSize),
    /// So many bytes were shown and are not here: who looks on was too slow.
    Skipped(u64),
    /// The shell has ended, with this status.
    Exited(i32),
}

const BYTES: u8 = 0;
const RESIZE: u8 = 1;
const SKIPPED: u8 = 2;
const EXITED: u8 = 3;

/// The next one; `None` when the other end let go. What a later release may say is passed over.
///
/// # Errors
/// When the stream breaks, or what comes is none.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Said>> {
    while let Some((kind, body)) = piece::read(from, TERMINAL_PIECE_BYTES).await? {
        if let Some(said) = decode(kind, body)? {
            return Ok(Some(said));
        }
    }
    Ok(None)
}

fn decode(kind: u8, body: Vec<u8>) -> io::Result<Option<Said>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a word about a terminal");
    Ok(Some(match kind {
        BYTES => Said::Bytes(body.into()),
        RESIZE => {
            let [a, b, c, d] = <[u8; 4]>::try_from(body).map_err(|_| bad())?;
            Said::Resize(TerminalSize {
                columns: u16::from_be_bytes([a, b]),
                rows: u16::from_be_bytes([c, d]),
            })
        }
        SKIPPED => Said::Skipped(u64::from_be_bytes(body.try_into().map_err(|_| bad())?)),
        EXITED => Said::Exited(i32::from_be_bytes(body.try_into().map_err(|_| bad())?)),
        _ => return Ok(None),
    }))
}

/// Writes one, in pieces if it is long.
///
/// # Errors
/// When the stream breaks.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), said: &Said) -> io::Result<()> {
    match said {
        Said::Bytes(bytes) => {
            for part in bytes.chunks(TERMINAL_PIECE_BYTES) {
                piece::write(to, BYTES, part).await?;
            }
        }
        Said::Resize(TerminalSize { columns, rows }) => {
            piece::write(to, RESIZE, &[columns.to_be_bytes(), rows.to_be_bytes()].concat()).await?;
        }
        Said::Skipped(bytes) => piece::write(to, SKIPPED, &bytes.to_be_bytes()).await?,
        Said::Exited(code) => piece::write(to, EXITED, &code.to_be_bytes()).await?,
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_later_is_passed_over() {
        let all = [
            Said::Bytes(Bytes::from_static(b"ls\r")),
            Said::Resize(TerminalSize { columns: 300, rows: 2 }),
            Said::Skipped(1 << 40),
            Said::Exited(-1),
        ];
        let mut wire = Vec::new();
        for said in &all {
            wire.extend_from_slice(&[9, 0, 0, 0, 2, 1, 2]);
            write(&mut wire, said).await.unwrap();
        }
        let mut from = &wire[..];
        for said in all {
            assert_eq!(read(&mut from).await.unwrap(), Some(said));
        }
        assert_eq!(read(&mut from).await.unwrap(), None);
        let long = Bytes::from(vec![7; TERMINAL_PIECE_BYTES + 1]);
        let mut wire = Vec::new();
        write(&mut wire, &Said::Bytes(long)).await.unwrap();
        let mut from = &wire[..];
        assert!(
            matches!(read(&mut from).await.unwrap(), Some(Said::Bytes(bytes)) if bytes.len() == TERMINAL_PIECE_BYTES)
        );
        for bad in [
            &[0, 0xff, 0xff, 0xff, 0xff][..],
            &[1, 0, 0, 0, 1, 1],
            &[0, 0, 0, 0, 5, 1],
        ] {
            let mut from = bad;
            assert!(read(&mut from).await.is_err(), "{bad:?}");
        }
    }
}
