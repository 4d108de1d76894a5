//! What is made of stored rows on the way out: pages of a log, filtered listings, one event, what became of a tool use. The
//! backends only say which rows there are.

use std::collections::HashMap;

use perennial_engine::ports::{EventFilter, ReadFrom, StoreError, TimeBounds};
use perennial_schema::event::{self, Answer, Body, Domain, LastEvent, Record};
use perennial_schema::{EventId, SessionId, Timestamp};

use super::packed::{Commit, Entry};
use super::rules::ToolUse;
use crate::limits;

/// Which events are asked for; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Span {
    /// What a read of the tail asks for; none when that is nothing.
    pub(crate) fn tail(from: ReadFrom) -> Option<Self> {
        let span = Self {
            low: from.after.saturating_add(1),
            high: from.after.saturating_add(u64::from(from.limit)),
        };
        span.within()
    }

    /// From a seq to the end, in pieces.
    pub(crate) fn from(low: u64) -> Option<Self> {
        let high = low.saturating_add(limits::SCAN_EVENTS - 1);
        Self { low, high }.within()
    }

    fn within(self) -> Option<Self> {
        let high = self.high.min(limits::LAST_SEQ);
        (self.low <= high).then_some(Self { high, ..self })
    }
}

/// What a commit tells of its session in a list; its turn and time are of no interest here. Of one that does not parse nothing:
/// whoever reads the log is told so, and the list is not worse for it.
pub(crate) fn told(session: SessionId, first_seq: u64, ids: &[u8], events: &[u8]) -> Option<LastEvent> {
    let commit = Commit {
        session,
        first_seq,
        turn: 0,
        at: Timestamp::from_micros(0),
        ids,
        events,
    };
    // A few packed bytes can be a great many.
    if commit.opened_bytes()? > limits::TELLING_OPENED_BYTES {
        return None;
    }
    let mut last = None;
    let visited = commit.visit(|entry| {
        let body = Body::parse(entry.kind, &entry.payload()).ok();
        last = body.and_then(|body| LastEvent::told(&body)).or(last.take());
        Ok(true)
    });
    visited.ok().and(last)
}

/// The events of a read, until it is full.
pub(crate) struct Page {
    span: Span,
    bytes: usize,
    pub(crate) records: Vec<Record>,
}

impl Page {
    pub(crate) fn new(span: Span) -> Self {
        Self {
            span,
            bytes: 0,
            records: Vec::new(),
        }
    }

    /// Adds a row's events; false when no more fit. An event that does not parse is told when it is the first.
    pub(crate) fn take(&mut self, commit: &Commit<'_>) -> Result<bool, StoreError> {
        let mut room = true;
        commit.visit(|entry| {
            if entry.seq < self.span.low {
                return Ok(true);
            }
            self.bytes += entry.bytes();
            room = entry.seq <= self.span.high && (self.bytes <= limits::READ_BYTES || self.records.is_empty());
            if room {
                self.records.push(commit.record(entry)?);
            }
            Ok(room)
        })?;
        Ok(room)
    }
}

/// A filtered listing under way: pieces of the log are looked through until it has what was asked for.
pub(crate) struct Listing {
    filter: EventFilter,
    next: Option<Span>,
    pub(crate) records: Vec<Record>,
}

/// Events of a piece that may belong to the listing, in its order, with the time each says itself.
pub(crate) type Candidates = Vec<(Record, Option<Timestamp>)>;

impl Listing {
    /// `head` is where the log ends, as far as a listing from the end needs to know.
    pub(crate) fn new(filter: EventFilter, head: u64) -> Self {
        let next = match (filter.limit, filter.descending, filter.cursor) {
            (0, ..) => None,
            (_, false, cursor) => Span::from(cursor.unwrap_or(0).saturating_add(1)),
            (_, true, cursor) => down_from(cursor.map_or(head, |cursor| cursor.saturating_sub(1).min(head))),
        };
        Self {
            filter,
            next,
            records: Vec::new(),
        }
    }

    /// The next piece to look through; none when the listing is complete.
    pub(crate) fn next(&self) -> Option<Span> {
        self.next.filter(|_| self.records.len() < self.filter.limit as usize)
    }

    /// What of a piece may belong to it. `commits` are that piece's rows in the order of the log.
    pub(crate) fn look(&mut self, span: Span, commits: &[Commit<'_>]) -> Result<Candidates, StoreError> {
        let mut found = Vec::new();
        for commit in commits {
            commit.visit(|entry| {
                if (span.low..=span.high).contains(&entry.seq) && shows(&self.filter, entry.kind) {
                    found.push((commit.record(entry)?, entry.processed_at()));
                }
                Ok(true)
            })?;
        }
        let reached = commits.last().is_some_and(|last| last.last_seq() >= span.high);
        self.next = if self.filter.descending {
            found.reverse();
            down_from(span.low - 1)
        } else if reached {
            Span::from(span.high + 1)
        } else {
            None
        };
        Ok(found)
    }

    /// Keeps those within the bounds, with the stamps of processed inputs.
    pub(crate) fn keep(&mut self, candidates: Candidates, stamps: &HashMap<EventId, Timestamp>) {
        for (mut record, at) in candidates {
            let stamp = stamps.get(&record.id).copied();
            if self.records.len() < self.filter.limit as usize && within(at.or(stamp), self.filter.created) {
                if let Some(stamp) = stamp {
                    record.payload = event::with_processed_at(&record.payload, stamp);
                }
                self.records.push(record);
            }
        }
    }
}

/// The ids among them that may have a stamp.
pub(crate) fn unstamped(candidates: &Candidates) -> Vec<EventId> {
    let queued = candidates.iter().filter(|(_, at)| at.is_none());
    queued.map(|(record, _)| record.id).collect()
}

fn down_from(high: u64) -> Option<Span> {
    let low = high.saturating_sub(limits::SCAN_EVENTS - 1).max(1);
    (high > 0).then_some(Span { low, high })
}

/// Whether a listing shows events of a type.
pub(crate) fn shows(filter: &EventFilter, kind: &str) -> bool {
    if filter.types.is_empty() {
        filter.include_extensions || event::domain(kind) != Domain::Extension
    } else {
        filter.types.iter().any(|shown| shown == kind)
    }
}

/// What has no time yet is within no bounds.
pub(crate) fn within(at: Option<Timestamp>, bounds: TimeBounds) -> bool {
    if bounds == TimeBounds::default() {
        return true;
    }
    at.is_some_and(|at| {
        bounds.gt.is_none_or(|bound| at > bound)
            && bounds.gte.is_none_or(|bound| at >= bound)
            && bounds.lt.is_none_or(|bound| at < bound)
            && bounds.lte.is_none_or(|bound| at <= bound)
    })
}

/// The event of an id in its row.
pub(crate) fn by_id(commit: &Commit<'_>, id: EventId) -> Result<Option<Record>, StoreError> {
    let mut found = None;
    commit.visit(|entry| {
        if entry.id == id {
            found = Some(commit.record(entry)?);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Follows a tool use through the log: what it is, and whether the engine itself closed it. Clients' answers have rows of
/// their own.
pub(crate) struct Follow {
    pub(crate) id: EventId,
    pub(crate) tool: ToolUse,
}

impl Follow {
    /// Looks at a row. False when nothing that comes later can matter.
    pub(crate) fn look(&mut self, commit: &Commit<'_>) -> Result<bool, StoreError> {
        commit.visit(|entry| {
            if entry.id == self.id {
                let parsed = Body::parse(entry.kind, &entry.payload());
                self.tool.kind = Some(entry.kind.to_owned());
                self.tool.awaits = parsed.ok().and_then(|body| body.awaits());
            } else if self.tool.kind.is_some() && self.is_its_result(entry) {
                self.tool.resulted = true;
            }
            Ok(!self.tool.resulted)
        })?;
        Ok(!self.tool.resulted)
    }

    fn is_its_result(&self, entry: &Entry<'_>) -> bool {
        matches!(entry.kind, "agent.tool_result" | "agent.mcp_tool_result")
            && Body::parse(entry.kind, &entry.payload())
                .is_ok_and(|body| body.answers() == Some((self.id, Answer::Result)))
    }
}
