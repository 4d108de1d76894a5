//! Create a session, from nothing or as a fork.

use std::collections::{BTreeMap, HashMap};

use perennial_engine::ports::{AppendError, Appended, ForkFrom, NewSession, Past, SessionKey};
use perennial_schema::Timestamp;

use super::state::{Details, Session, State};
use crate::log::past;
use crate::log::rules::{self, Head};

pub(super) fn create(
    state: &mut State,
    new: &NewSession,
    fork: Option<ForkFrom>,
    history: &[Past],
    now: Timestamp,
) -> Result<Appended, AppendError> {
    let key = new.key;
    if let Some(asked) = &new.idempotency {
        let stored = state.remembered(key.workspace, asked);
        if let Some(earlier) = rules::recall(asked, stored, None, now)? {
            return Ok(earlier);
        }
    }
    let created = state
        .sessions
        .get(&key)
        .and_then(|session| session.appends.get(&rules::creation_id(key)));
    if let Some(outcome) = created {
        return Ok(outcome.appended(key.session, true));
    }
    rules::check_ids(key, past::events(history, &new.events))?;
    let mut session = empty(new, now);
    if let Some(fork) = fork {
        copy(state, key, fork, &mut session)?;
    }
    for chapter in past::chapters(history) {
        session.store(chapter.events, &chapter.processed, chapter.outcome);
        (session.head.head, session.head.turn) = (chapter.outcome.last_seq, chapter.outcome.turn);
    }
    session.head.project(&new.projection, true, now);
    let outcome = session.head.grow(&new.events, &new.projection, now);
    session.store(&new.events, &new.projection.processed, outcome);
    session.patch(&new.projection.patch);
    session.appends.insert(rules::creation_id(key), outcome);
    if let Some(asked) = &new.idempotency {
        state.remember(key, asked, outcome);
    }
    state.changes += 1;
    session.changed = state.changes;
    state.sessions.insert(key, session);
    Ok(outcome.appended(key.session, false))
}

fn empty(new: &NewSession, now: Timestamp) -> Session {
    Session {
        head: Head {
            place: new.place,
            ..Head::new(now)
        },
        changed: 0,
        details: Details {
            agent: new.agent.clone(),
            environment_id: new.environment_id,
            environment: new.environment.clone(),
            title: new.title.clone(),
            metadata: new.metadata.clone(),
            resources: new.resources.clone(),
            vault_ids: new.vault_ids.clone(),
            budget: new.budget.clone(),
            created_at: now,
        },
        events: Vec::new(),
        ids: HashMap::new(),
        answers: BTreeMap::new(),
        processed: HashMap::new(),
        appends: HashMap::new(),
    }
}

/// Copies rows 1..=at_seq verbatim, with the stamps and answers those rows made.
fn copy(state: &State, to: SessionKey, fork: ForkFrom, session: &mut Session) -> Result<(), AppendError> {
    let from = SessionKey {
        workspace: to.workspace,
        session: fork.session,
    };
    let source = state
        .sessions
        .get(&from)
        .filter(|source| source.head.deleted_at.is_none());
    let source = source.ok_or(AppendError::NotFound)?;
    if fork.at_seq > source.head.head {
        return Err(AppendError::Moved { head: source.head.head });
    }
    let cut = usize::try_from(fork.at_seq).unwrap_or(usize::MAX);
    session.events = source.events[..cut].to_vec();
    session.ids = (0..)
        .zip(&session.events)
        .map(|(index, event)| (event.record.id, index))
        .collect();
    session.answers = source
        .answers
        .iter()
        .filter(|(_, seq)| **seq <= fork.at_seq)
        .map(|(k, v)| (*k, *v))
        .collect();
    session.processed = source
        .processed
        .iter()
        .filter(|(_, (_, by))| *by <= fork.at_seq)
        .map(|(k, v)| (*k, *v))
        .collect();
    session.head.head = fork.at_seq;
    session.head.turn = session.events.last().map_or(0, |event| event.record.turn);
    Ok(())
}
