//! What travels between nodes: a version, a kind, fixed fields, and for previews the rest of the message. Nothing is
//! allocated for what comes in: a preview's payload is a slice of the message it came in. Whatever does not read is not ours
//! and is ignored.

use bytes::{BufMut, Bytes, BytesMut};
use perennial_engine::ports::{Delta, Notice};
use perennial_schema::EventId;
use uuid::Uuid;

use crate::limits;

/// A node that reads another version ignores what it does not know; its readers find it in the log.
const VERSION: u8 = 1;
const HINT: u8 = 1;
const DELTA: u8 = 2;
/// Before a preview's payload: version, message kind, event kind, event id, n.
const DELTA_HEAD: usize = 3 + 16 + 8;

/// The event kinds that have previews, by their number on the wire; numbers are never reused.
const KINDS: [(u8, &str); 3] = [(1, "agent.message"), (2, "agent.thinking"), (3, "agent.tool_result")];

/// A hint.
pub(super) fn hint(seq: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(10);
    out.put_slice(&[VERSION, HINT]);
    out.put_u64(seq);
    out.freeze()
}

/// A preview; `None` when it is of a kind or size that does not travel.
pub(super) fn delta(delta: &Delta) -> Option<Bytes> {
    let (kind, _) = KINDS.into_iter().find(|(_, name)| *name == delta.kind)?;
    if delta.payload.len() > limits::DELTA_BYTES {
        return None;
    }
    let mut out = BytesMut::with_capacity(DELTA_HEAD + delta.payload.len());
    out.put_slice(&[VERSION, DELTA, kind]);
    out.put_slice(delta.event_id.uuid().as_bytes());
    out.put_u64(delta.n);
    out.put_slice(&delta.payload);
    Some(out.freeze())
}

/// A message without content: its subject says it all.
pub(super) fn tick() -> Bytes {
    Bytes::from_static(&[VERSION])
}

/// Whether it is one.
pub(super) fn is_tick(message: &[u8]) -> bool {
    message == [VERSION]
}

/// What a session's message says; `None` for garbage.
pub(super) fn notice(message: &Bytes) -> Option<Notice> {
    let (head, rest) = message.split_first_chunk::<2>()?;
    match *head {
        [VERSION, HINT] => Some(Notice::Hint {
            seq: u64::from_be_bytes(rest.try_into().ok()?),
        }),
        [VERSION, DELTA] => read_delta(message).map(Notice::Delta),
        _ => None,
    }
}

fn read_delta(message: &Bytes) -> Option<Delta> {
    let fields: &[u8; DELTA_HEAD] = message.first_chunk()?;
    if message.len() - DELTA_HEAD > limits::DELTA_BYTES {
        return None;
    }
    let (_, kind) = KINDS.into_iter().find(|(number, _)| *number == fields[2])?;
    Some(Delta {
        event_id: EventId::from_uuid(Uuid::from_slice(&fields[3..19]).ok()?),
        kind,
        n: u64::from_be_bytes(fields[19..].try_into().ok()?),
        payload: message.slice(DELTA_HEAD..),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(kind: &'static str, n: u64, payload: Vec<u8>) -> Delta {
        Delta {
            event_id: EventId::from_uuid(Uuid::from_u128(7)),
            kind,
            n,
            payload: payload.into(),
        }
    }

    #[test]
    fn what_is_too_large_or_unknown_does_not_travel() {
        assert_eq!(
            delta(&piece("agent.message", 0, vec![0; limits::DELTA_BYTES + 1])),
            None
        );
        assert_eq!(delta(&piece("agent.song", 0, Vec::new())), None);
        let mut long = BytesMut::from(&delta(&piece("agent.message", 0, vec![0; limits::DELTA_BYTES])).unwrap()[..]);
        long.put_u8(0);
        assert_eq!(notice(&long.freeze()), None);
    }

    #[test]
    fn another_version_is_ignored() {
        let mut other = BytesMut::from(&hint(3)[..]);
        other[0] = VERSION + 1;
        assert_eq!(notice(&other.freeze()), None);
        assert!(!is_tick(&[VERSION + 1]) && !is_tick(&[]) && is_tick(&tick()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seq: u64, n: u64, which in 0_usize..2, payload: Vec<u8>) {
            prop_assert_eq!(notice(&hint(seq)), Some(Notice::Hint { seq }));
            let piece = piece(KINDS[which].1, n, payload);
            prop_assert_eq!(notice(&delta(&piece).unwrap()), Some(Notice::Delta(piece)));
        }

        #[test]
        fn garbage_is_no_trouble(message: Vec<u8>, kind in 0_u8..4) {
            let _ = notice(&Bytes::from(message.clone()));
            let _ = notice(&Bytes::from([&[VERSION, kind], &message[..]].concat()));
        }
    }
}
