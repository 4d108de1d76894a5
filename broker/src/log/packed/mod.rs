//! One append as one row: its events as one block of bytes, beside their ids. What each event repeats of what is known anyway
//! (the envelope of its payload, the words every payload has) is not stored; it comes back byte for byte.
//!
//! A block begins with its form. `PLAIN`: fields with lengths of four bytes, as a migration can write them in SQL.
//! `LZ4`: the plain length, then the fields with short lengths, compressed against [`dictionary::FIRST`]. A form and its
//! dictionary never change once rows have them: a better one is another number.
//!
//! Fields of an event: flags, kind, what the flags announce (`processed_at`, actor, thread), payload, private; in the last two,
//! long runs of hexadecimal digits are stored as bytes.

mod dictionary;
mod envelope;
mod fields;
mod hex;

use std::borrow::Cow;

use perennial_engine::ports::StoreError;
use perennial_schema::event::{Draft, Record};
use perennial_schema::{EventId, SessionId, Timestamp};
use uuid::Uuid;

use self::envelope::{Envelope, Stamp};
use self::fields::{Broken, Fields};
use super::rules;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// Bytes of an id.
const ID: usize = 16;

/// What of an event is there.
mod flag {
    pub(super) const PRIVATE: u8 = 1;
    pub(super) const ACTOR: u8 = 1 << 1;
    pub(super) const THREAD: u8 = 1 << 2;
    /// The actor is a JSON string: rows that a migration of a shared store wrote.
    pub(super) const ACTOR_IS_JSON: u8 = 1 << 3;
    /// The payload begins with the usual envelope, which is left out; `processed_at` is null.
    pub(super) const FOLDED: u8 = 1 << 4;
    /// The same, and `processed_at` is this time.
    pub(super) const STAMPED: u8 = 1 << 5;
}

/// The events of an append as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Sixteen bytes each; how many events there are.
    pub(crate) ids: Vec<u8>,
    /// The rest of them.
    pub(crate) events: Vec<u8>,
}

/// Packs the events of one append.
pub(crate) fn pack(events: &[Draft]) -> Packed {
    let bytes: usize = events
        .iter()
        .map(|event| event.payload.len() + event.private.as_ref().map_or(0, String::len) + 64)
        .sum();
    let mut plain = Vec::with_capacity(bytes);
    let mut ids = Vec::with_capacity(events.len() * ID);
    for event in events {
        ids.extend_from_slice(event.id.uuid().as_bytes());
        write(&mut plain, event);
    }
    Packed {
        ids,
        events: seal(&plain),
    }
}

fn write(plain: &mut Vec<u8>, event: &Draft) {
    let kind = event.body.kind();
    let (envelope, rest) = match Envelope::strip(event.id, kind, &event.payload) {
        Some((envelope, rest)) => (Some(envelope), rest),
        None => (None, event.payload.as_str()),
    };
    let mut flags = match envelope {
        None => 0,
        Some(Envelope { at: None }) => flag::FOLDED,
        Some(Envelope { at: Some(_) }) => flag::STAMPED,
    };
    for (set, bit) in [
        (event.private.is_some(), flag::PRIVATE),
        (event.actor.is_some(), flag::ACTOR),
    ] {
        flags |= if set { bit } else { 0 };
    }
    plain.push(flags);
    fields::write(plain, kind.as_bytes());
    if let Some(Envelope { at: Some(at) }) = envelope {
        plain.extend_from_slice(&at.micros().to_be_bytes());
    }
    if let Some(actor) = &event.actor {
        fields::write(plain, actor.as_bytes());
    }
    let mut short = Vec::with_capacity(rest.len());
    for part in [Some(rest), event.private.as_deref()].into_iter().flatten() {
        short.clear();
        hex::shorten(&mut short, part.as_bytes());
        fields::write(plain, &short);
    }
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut sealed = vec![LZ4];
    fields::write_length(&mut sealed, plain.len());
    let head = sealed.len();
    sealed.resize(head + lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    let written = lz4_flex::block::compress_into_with_dict(plain, &mut sealed[head..], dictionary::FIRST);
    // The room is the most it can need.
    sealed.truncate(head + written.unwrap_or(0));
    sealed
}

/// A stored row of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'r> {
    pub(crate) session: SessionId,
    pub(crate) first_seq: u64,
    pub(crate) turn: u64,
    pub(crate) at: Timestamp,
    pub(crate) ids: &'r [u8],
    pub(crate) events: &'r [u8],
}

impl Commit<'_> {
    /// How many events it has.
    pub(crate) fn len(&self) -> u64 {
        (self.ids.len() / ID) as u64
    }

    /// The number of its last event.
    pub(crate) fn last_seq(&self) -> u64 {
        (self.first_seq + self.len()).saturating_sub(1)
    }

    /// Its events, in order; an event that does not parse ends them.
    pub(crate) fn visit(&self, mut each: impl FnMut(&Entry<'_>) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        let (plain, wide) = self.open().map_err(|what| self.broken(self.first_seq, what))?;
        let mut fields = Fields::new(&plain, wide);
        for (seq, id) in (self.first_seq..).zip(self.ids.chunks_exact(ID)) {
            let entry = entry(&mut fields, seq, id).map_err(|what| self.broken(seq, what))?;
            if !each(&entry)? {
                return Ok(());
            }
        }
        if fields.is_empty() && self.ids.len().is_multiple_of(ID) {
            Ok(())
        } else {
            Err(self.broken(self.first_seq, Broken("there is more than its ids say")))
        }
    }

    /// How many bytes its events are when they are opened; none of a row that does not parse.
    pub(crate) fn opened_bytes(&self) -> Option<usize> {
        match self.events.split_first() {
            Some((&PLAIN, fields)) => Some(fields.len()),
            Some((&LZ4, rest)) => Fields::new(rest, false).length().ok(),
            _ => None,
        }
    }

    /// The first `count` events as a row of their own.
    pub(crate) fn first(&self, count: u64) -> Result<Packed, StoreError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let broken = |what| self.broken(self.first_seq, what);
        let (plain, wide) = self.open().map_err(broken)?;
        let mut fields = Fields::new(&plain, wide);
        let ids = &self.ids[..(count * ID).min(self.ids.len())];
        for (seq, id) in (self.first_seq..).zip(ids.chunks_exact(ID)) {
            entry(&mut fields, seq, id).map_err(broken)?;
        }
        let kept = &plain[..plain.len() - fields.left()];
        Ok(Packed {
            ids: ids.to_vec(),
            events: if wide { [&[PLAIN], kept].concat() } else { seal(kept) },
        })
    }

    /// An event of it as the port shows it.
    pub(crate) fn record(&self, entry: &Entry<'_>) -> Result<Record, StoreError> {
        Ok(Record {
            seq: entry.seq,
            id: entry.id,
            kind: entry.kind.to_owned(),
            turn: self.turn,
            actor: match entry.actor {
                Some(json) if entry.actor_is_json => {
                    let actor = serde_json::from_str(json);
                    Some(actor.map_err(|_| self.broken(entry.seq, Broken("its actor is no JSON string")))?)
                }
                actor => actor.map(str::to_owned),
            },
            thread_id: entry.thread.map(str::to_owned),
            created_at: self.at,
            payload: entry.payload(),
            private: entry.private.as_deref().map(str::to_owned),
        })
    }

    /// The fields, and whether their lengths are wide.
    fn open(&self) -> Result<(Cow<'_, [u8]>, bool), Broken> {
        match self.events.split_first() {
            Some((&PLAIN, fields)) => Ok((Cow::Borrowed(fields), true)),
            Some((&LZ4, rest)) => {
                let mut head = Fields::new(rest, false);
                let length = head.length()?;
                let block = &rest[rest.len() - head.left()..];
                // A byte of LZ4 never says more than 255: a damaged length asks for no more memory than that.
                if length > block.len().saturating_mul(255) + 64 {
                    return Err(Broken("its length cannot be"));
                }
                let plain = lz4_flex::block::decompress_with_dict(block, length, dictionary::FIRST);
                match plain {
                    Ok(plain) if plain.len() == length => Ok((Cow::Owned(plain), false)),
                    _ => Err(Broken("its block does not decompress")),
                }
            }
            _ => Err(Broken("its form is not known to this version")),
        }
    }

    fn broken(&self, seq: u64, Broken(what): Broken) -> StoreError {
        StoreError::Inconsistent {
            table: "commits",
            key: format!("{}/{seq}", self.session),
            message: what.to_owned(),
        }
    }
}

fn entry<'p>(fields: &mut Fields<'p>, seq: u64, id: &[u8]) -> Result<Entry<'p>, Broken> {
    let id = Uuid::from_slice(id).map_err(|_| Broken("its id is no id"))?;
    let flags = fields.byte()?;
    let kind = fields.text()?;
    let envelope = if flags & flag::STAMPED != 0 {
        let at = Timestamp::from_micros(i64::from_be_bytes(fields.array()?));
        Some(Envelope {
            at: Some(Stamp::of(at)),
        })
    } else if flags & flag::FOLDED != 0 {
        Some(Envelope { at: None })
    } else {
        None
    };
    let mut optional = |bit: u8| -> Result<Option<&'p str>, Broken> {
        let there = flags & bit != 0;
        if there { fields.text().map(Some) } else { Ok(None) }
    };
    let (actor, thread) = (optional(flag::ACTOR)?, optional(flag::THREAD)?);
    Ok(Entry {
        seq,
        id: EventId::from_uuid(id),
        kind,
        envelope,
        actor,
        actor_is_json: flags & flag::ACTOR_IS_JSON != 0,
        thread,
        rest: hex::restore(fields.bytes()?)?,
        private: if flags & flag::PRIVATE != 0 {
            Some(hex::restore(fields.bytes()?)?)
        } else {
            None
        },
    })
}

/// An event of a row, not yet copied out of it.
#[derive(Debug)]
pub(crate) struct Entry<'p> {
    pub(crate) seq: u64,
    pub(crate) id: EventId,
    pub(crate) kind: &'p str,
    envelope: Option<Envelope>,
    actor: Option<&'p str>,
    actor_is_json: bool,
    thread: Option<&'p str>,
    rest: Cow<'p, str>,
    private: Option<Cow<'p, str>>,
}

impl Entry<'_> {
    /// The public JSON as it was stored.
    pub(crate) fn payload(&self) -> String {
        match self.envelope {
            Some(envelope) => envelope.before(self.id, self.kind, &self.rest),
            None => self.rest.clone().into_owned(),
        }
    }

    /// When it was processed, as far as the event itself says.
    pub(crate) fn processed_at(&self) -> Option<Timestamp> {
        match self.envelope {
            Some(envelope) => envelope.at.map(Stamp::time),
            None => rules::processed_at(&self.rest),
        }
    }

    /// Bytes a reader is given.
    pub(crate) fn bytes(&self) -> usize {
        let envelope = self.envelope.map_or(0, |_| envelope::BYTES + self.kind.len());
        envelope + self.rest.len() + self.private.as_ref().map_or(0, |private| private.len())
    }
}

#[cfg(test)]
mod tests;
