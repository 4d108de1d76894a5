//! Filtered listings.

use perennial_engine::ports::{ChangeCursor, EventFilter, SessionFilter, SessionRow};
use perennial_schema::event::{self, Answer, Record};
use perennial_schema::session::StopReason;
use perennial_schema::{Timestamp, WorkspaceId};

use super::state::{Event, Session, State};
use crate::log::reading::{self, within};

/// A session's events with the stamps of processed inputs.
pub(super) fn events(session: &Session, filter: &EventFilter) -> Vec<Record> {
    let wanted = |event: &&Event| shows(session, filter, event);
    let limit = filter.limit as usize;
    let found: Vec<&Event> = if filter.descending {
        session.events.iter().rev().filter(wanted).take(limit).collect()
    } else {
        session.events.iter().filter(wanted).take(limit).collect()
    };
    found.into_iter().map(|event| overlaid(session, event)).collect()
}

fn shows(session: &Session, filter: &EventFilter, event: &Event) -> bool {
    let record = &event.record;
    let beyond = filter.cursor.is_none_or(|cursor| {
        if filter.descending {
            record.seq < cursor
        } else {
            record.seq > cursor
        }
    });
    let stamp = session.processed.get(&record.id).map(|(at, _)| *at);
    beyond && reading::shows(filter, &record.kind) && within(event.processed_at.or(stamp), filter.created)
}

fn overlaid(session: &Session, event: &Event) -> Record {
    let mut record = event.record.clone();
    if let Some((at, _)) = session.processed.get(&record.id) {
        record.payload = event::with_processed_at(&record.payload, *at);
    }
    record
}

/// A tenant's sessions.
pub(super) fn sessions(
    state: &State,
    workspace: WorkspaceId,
    filter: &SessionFilter,
    now: Timestamp,
) -> Vec<SessionRow> {
    let own = state.sessions.iter().filter(|(key, _)| key.workspace == workspace);
    let confirmed = |session: &Session| session.answers.keys().any(|(_, way)| *way == Answer::Confirmation);
    let mut rows: Vec<SessionRow> = own
        .filter(|(_, session)| !filter.confirmed || confirmed(session))
        .map(|(key, session)| state.row(*key, session, now))
        .filter(|row| matches(filter, row))
        .collect();
    rows.sort_by_key(|row| (row.created_at, row.key.session));
    if !filter.ascending {
        rows.reverse();
    }
    rows.truncate(filter.limit as usize);
    rows
}

/// A tenant's sessions whose summary changed after a place.
pub(super) fn changes(
    state: &State,
    workspace: WorkspaceId,
    after: Option<ChangeCursor>,
    limit: u32,
    now: Timestamp,
) -> Vec<(ChangeCursor, SessionRow)> {
    let own = state.sessions.iter().filter(|(key, _)| key.workspace == workspace);
    let mut changed: Vec<_> = own
        .map(|(key, session)| {
            let cursor = ChangeCursor {
                commit: session.changed,
                position: 0,
            };
            (cursor, key, session)
        })
        .filter(|(cursor, ..)| after.is_none_or(|after| *cursor > after))
        .collect();
    changed.sort_by_key(|(cursor, ..)| *cursor);
    changed.truncate(limit as usize);
    changed
        .into_iter()
        .map(|(cursor, key, session)| (cursor, state.row(*key, session, now)))
        .collect()
}

fn matches(filter: &SessionFilter, row: &SessionRow) -> bool {
    let beyond = filter.cursor.is_none_or(|cursor| {
        let place = (row.created_at, row.key.session);
        if filter.ascending {
            place > cursor
        } else {
            place < cursor
        }
    });
    beyond
        && row.deleted_at.is_none()
        && (filter.include_archived || row.archived_at.is_none())
        && filter.agent_id.is_none_or(|agent| agent == row.agent.id)
        && filter.agent_version.is_none_or(|version| version == row.agent.version)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.served_status()))
        && filter
            .environment_id
            .is_none_or(|environment| environment == row.environment_id)
        && (!filter.waiting || matches!(row.stop_reason, Some(StopReason::RequiresAction { .. })))
        && within(Some(row.created_at), filter.created)
}
