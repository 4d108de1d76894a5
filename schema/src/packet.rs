//! Frames on a byte stream: the length as four bytes, big end first, then the frame as JSON. Lengths are checked before
//! anything is allocated for them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::MAX_FRAME_BYTES;

/// Bytes of the length that stands before a frame.
pub const HEAD_BYTES: usize = 4;

/// Most values in a frame. What is long in ours is text; a frame of numbers alone would become many times as large when it is read.
pub const MAX_FRAME_VALUES: usize = 100_000;

/// A frame that cannot travel, or bytes that are none. The link it is on ends.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// More than [`MAX_FRAME_VALUES`].
    #[error("a frame of so many values is none of ours")]
    TooDense,
    /// Not a frame of this direction.
    #[error("a frame cannot be read")]
    Malformed(#[source] serde_json::Error),
}

/// A frame with its length before it.
///
/// # Errors
/// When it is too long.
pub fn encode<F: Serialize>(frame: &F) -> Result<Vec<u8>, Unfit> {
    let mut packet = vec![0; HEAD_BYTES];
    serde_json::to_writer(&mut packet, frame).map_err(Unfit::Malformed)?;
    let length = packet.len() - HEAD_BYTES;
    let head = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES);
    packet[..HEAD_BYTES].copy_from_slice(&head.ok_or(Unfit::TooLong(length))?.to_be_bytes());
    Ok(packet)
}

/// How many bytes follow.
///
/// # Errors
/// When it is more than a frame may have.
pub fn length(head: [u8; HEAD_BYTES]) -> Result<usize, Unfit> {
    length_within(head, MAX_FRAME_BYTES)
}

/// The same where less than a whole frame is expected.
///
/// # Errors
/// When it is more than `most`.
pub fn length_within(head: [u8; HEAD_BYTES], most: usize) -> Result<usize, Unfit> {
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > most {
        return Err(Unfit::TooLong(length));
    }
    Ok(length)
}

/// The frame in these bytes.
///
/// # Errors
/// When it is none.
pub fn decode<F: DeserializeOwned>(body: &[u8]) -> Result<F, Unfit> {
    // Fewer bytes cannot hold more: most frames are not looked through.
    if body.len() > MAX_FRAME_VALUES && str::from_utf8(body).is_ok_and(is_dense) {
        return Err(Unfit::TooDense);
    }
    serde_json::from_slice(body).map_err(Unfit::Malformed)
}

/// Whether there are more than [`MAX_FRAME_VALUES`], or would be if it were JSON: as many as commas and brackets outside of text.
fn is_dense(frame: &str) -> bool {
    let (bytes, mut values, mut at) = (frame.as_bytes(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_text(frame, at),
            b',' | b'[' | b'{' => values += 1,
            _ => {}
        }
        if values > MAX_FRAME_VALUES {
            return true;
        }
    }
    false
}

/// Where the text ends that begins there. What is long in a frame is text, so it is passed over quickly.
fn end_of_text(frame: &str, begin: usize) -> usize {
    let mut at = begin;
    while let Some(found) = frame[at..].find('"') {
        let quote = at + found;
        let escapes = frame.as_bytes()[begin..quote].iter().rev();
        at = quote + 1;
        if escapes.take_while(|byte| **byte == b'\\').count() % 2 == 0 {
            return at;
        }
    }
    frame.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FromExecutor, ToExecutor};

    #[test]
    fn what_is_encoded_is_decoded() {
        let ping = ToExecutor::Ping { nonce: 7 };
        let packet = encode(&ping).unwrap();
        let (head, body) = packet.split_first_chunk::<HEAD_BYTES>().unwrap();
        assert_eq!(length(*head).unwrap(), body.len());
        assert_eq!(decode::<ToExecutor>(body).unwrap(), ping);
        assert!(matches!(decode::<FromExecutor>(body), Err(Unfit::Malformed(_))));
    }

    #[test]
    fn what_would_become_large_when_it_is_read_is_refused() {
        let card = |tools: usize| format!(r#"{{"pong":{{"nonce":1,"more":[{}0]}}}}"#, "0,".repeat(tools));
        assert!(decode::<FromExecutor>(card(MAX_FRAME_VALUES - 10).as_bytes()).is_ok());
        let dense = decode::<FromExecutor>(card(MAX_FRAME_VALUES).as_bytes());
        assert!(matches!(dense, Err(Unfit::TooDense)), "{dense:?}");
        // Commas and brackets in text are text, whatever is escaped in it.
        let text = r#"\",[{\\"#.repeat(MAX_FRAME_VALUES);
        let said = format!(r#"{{"pong":{{"nonce":1,"more":"{text}"}}}}"#);
        assert!(decode::<FromExecutor>(said.as_bytes()).is_ok());
    }

    #[test]
    fn lengths_are_bounded_both_ways() {
        let most = u32::try_from(MAX_FRAME_BYTES).unwrap();
        assert_eq!(length(most.to_be_bytes()).unwrap(), MAX_FRAME_BYTES);
        assert!(matches!(length((most + 1).to_be_bytes()), Err(Unfit::TooLong(_))));
        assert!(matches!(length([0xff; 4]), Err(Unfit::TooLong(_))));
        assert!(matches!(encode(&"x".repeat(MAX_FRAME_BYTES)), Err(Unfit::TooLong(_))));
    }
}
