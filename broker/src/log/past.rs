//! The log of another server as entries of this one: numbered from 1, each with the time and the turn it had there.

use perennial_engine::ports::Past;
use perennial_schema::event::{Body, Draft};
use perennial_schema::{AppendId, EventId};

use super::rules::Outcome;

/// One commit of that log.
pub(crate) struct Chapter<'a> {
    /// As unique as the event it is taken from.
    pub(crate) append_id: AppendId,
    pub(crate) events: &'a [Draft],
    /// Inputs it stamps.
    pub(crate) processed: Vec<EventId>,
    pub(crate) outcome: Outcome,
}

/// All of it; commits without events leave no trace.
pub(crate) fn chapters(past: &[Past]) -> Vec<Chapter<'_>> {
    let mut head = 0;
    let mut chapters = Vec::with_capacity(past.len());
    for commit in past {
        let Some(first) = commit.events.first() else { continue };
        let first_seq = head + 1;
        head += commit.events.len() as u64;
        chapters.push(Chapter {
            append_id: AppendId::from_uuid(first.id.uuid()),
            events: &commit.events,
            processed: stamped(&commit.events),
            outcome: Outcome {
                first_seq,
                last_seq: head,
                turn: commit.turn,
                at: commit.at,
            },
        });
    }
    chapters
}

fn stamped(events: &[Draft]) -> Vec<EventId> {
    let named = events.iter().filter_map(|event| match &event.body {
        Body::InputProcessed(named) => Some(&named.event_ids),
        _ => None,
    });
    named.flatten().copied().collect()
}

/// The events of a creation that begins with a past.
pub(crate) fn events<'a>(past: &'a [Past], new: &'a [Draft]) -> impl Iterator<Item = &'a Draft> {
    past.iter().flat_map(|commit| &commit.events).chain(new)
}

/// Where it ends: the last number and its turn.
pub(crate) fn end(chapters: &[Chapter<'_>]) -> (u64, u64) {
    chapters
        .last()
        .map_or((0, 0), |last| (last.outcome.last_seq, last.outcome.turn))
}
