//! Executor frames on any stream of bytes, as `schema::packet` writes them.

use std::io;

use perennial_schema::{frame, packet};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The next frame; `None` when the other end hung up.
///
/// # Errors
/// When the stream breaks, or what comes is no frame of this direction.
pub async fn read<F: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<F>> {
    read_within(from, frame::MAX_FRAME_BYTES).await
}

/// The same where less is expected than a frame may have.
///
/// # Errors
/// As above, and when it is longer than `most`.
pub async fn read_within<F: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Option<F>> {
    Ok(read_measured(from, most).await?.map(|(frame, _)| frame))
}

/// The same, and how long it was.
pub(crate) async fn read_measured<F: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<Option<(F, usize)>> {
    let mut head = [0; packet::HEAD_BYTES];
    match from.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = packet::length_within(head, most).map_err(io::Error::other)?;
    // Grows with what really comes.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Ok(None);
    }
    let frame = packet::decode(&body).map_err(io::Error::other)?;
    Ok(Some((frame, length)))
}

/// Writes a frame, and has it leave.
///
/// # Errors
/// When the stream breaks, or the frame is too long.
pub async fn write<F: Serialize>(to: &mut (impl AsyncWrite + Unpin), frame: &F) -> io::Result<()> {
    let packet = packet::encode(frame).map_err(io::Error::other)?;
    to.write_all(&packet).await?;
    to.flush().await
}
