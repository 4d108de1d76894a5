//! What an executor says on the stream of a program that it started: what the program prints, and how it ended. The other way its
//! input travels, as it is. [`crate::piece`] says how.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::limits::{SERVER_ERRORS_BYTES, SERVER_PIECE_BYTES};
use crate::piece;

/// Something that was said of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It printed this. At most [`SERVER_PIECE_BYTES`].
    Bytes(Bytes),
    /// It is over, and this is the last that is said.
    Ended {
        /// How, as shells tell it.
        status: i32,
        /// The end of what it said of errors. At most [`SERVER_ERRORS_BYTES`].
        errors: String,
    },
}

const BYTES: u8 = 0;
const ENDED: u8 = 1;
/// Of a status.
const STATUS: usize = 4;

/// The next one; `None` when the other end let go. What a later release may say is passed over.
///
/// # Errors
/// When the stream breaks, or what comes is none.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Said>> {
    loop {
        let Some((kind, body)) = piece::read(from, SERVER_PIECE_BYTES).await? else {
            return Ok(None);
        };
        match kind {
            BYTES => return Ok(Some(Said::Bytes(body.into()))),
            ENDED => {
                let bad = || io::Error::new(io::ErrorKind::InvalidData, "not the end of a program");
                let (status, errors) = body.split_first_chunk::<STATUS>().ok_or_else(bad)?;
                return Ok(Some(Said::Ended {
                    status: i32::from_be_bytes(*status),
                    errors: String::from_utf8_lossy(errors).into_owned(),
                }));
            }
            _ => {}
        }
    }
}

/// Writes one, in pieces if it is long.
///
/// # Errors
/// When the stream breaks.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), said: &Said) -> io::Result<()> {
    match said {
        Said::Bytes(bytes) => {
            for part in bytes.chunks(SERVER_PIECE_BYTES) {
                piece::write(to, BYTES, part).await?;
            }
        }
        Said::Ended { status, errors } => {
            let errors = &errors[errors.ceil_char_boundary(errors.len().saturating_sub(SERVER_ERRORS_BYTES))..];
            let body = [&status.to_be_bytes(), errors.as_bytes()].concat();
            piece::write(to, ENDED, &body).await?;
        }
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_later_is_passed_over() {
        let ended = |errors: String| Said::Ended { status: -1, errors };
        let all = [
            Said::Bytes(Bytes::from_static(b"{}\n")),
            ended("é".repeat(SERVER_ERRORS_BYTES / 2)),
            ended(String::new()),
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
        let mut wire = Vec::new();
        write(&mut wire, &ended("é".repeat(SERVER_ERRORS_BYTES))).await.unwrap();
        let Some(Said::Ended { errors, .. }) = read(&mut &wire[..]).await.unwrap() else {
            panic!("the end");
        };
        assert_eq!(errors.len(), SERVER_ERRORS_BYTES);
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
