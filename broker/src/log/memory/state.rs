//! What the memory store holds.

use std::collections::{BTreeMap, HashMap};

use perennial_engine::ports::{Idempotency, Reach, SessionKey, SessionMetadata, SessionPatch, SessionRow};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Answer, Awaits, Draft, LastEvent, Raw, Record};
use perennial_schema::{AppendId, EnvironmentId, EventId, OwnerId, Timestamp, WorkspaceId};

use crate::limits;
use crate::log::rules::{self, Head, Outcome, Remembered, ToolUse};

/// Everything.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<SessionKey, Session>,
    pub(super) owners: BTreeMap<OwnerId, Owner>,
    /// Counts changes of session summaries.
    pub(super) changes: u64,
    /// Counts claims, and when each tenant was last served.
    pub(super) served: (u64, BTreeMap<WorkspaceId, u64>),
    idempotency: HashMap<(WorkspaceId, String, String), Remembered>,
    pruned: Option<Timestamp>,
}

/// A process that borrows sessions.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) expires_at: Timestamp,
    pub(super) reach: Reach,
    /// It was not told to claim nothing.
    pub(super) claims: bool,
}

/// A session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) head: Head,
    /// When its summary last changed, by [`State::changes`].
    pub(super) changed: u64,
    pub(super) details: Details,
    pub(super) events: Vec<Event>,
    pub(super) ids: HashMap<EventId, usize>,
    /// Way of the answer, and seq of the answering event.
    pub(super) answers: BTreeMap<(EventId, Answer), u64>,
    /// Time, and seq of the event that said so.
    pub(super) processed: HashMap<EventId, (Timestamp, u64)>,
    pub(super) appends: HashMap<AppendId, Outcome>,
}

/// The cold columns.
#[derive(Clone)]
pub(super) struct Details {
    pub(super) agent: AgentSnapshot,
    pub(super) environment_id: EnvironmentId,
    pub(super) environment: EnvironmentConfig,
    pub(super) title: Option<String>,
    pub(super) metadata: SessionMetadata,
    pub(super) resources: Vec<Raw>,
    pub(super) vault_ids: Vec<String>,
    pub(super) budget: Option<Raw>,
    pub(super) created_at: Timestamp,
}

/// A stored event with its columns.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) record: Record,
    pub(super) awaits: Option<Awaits>,
    pub(super) processed_at: Option<Timestamp>,
}

impl State {
    /// Whether somebody alive holds the session.
    pub(super) fn is_held(&self, head: &Head, now: Timestamp) -> bool {
        head.owner.is_some_and(|owner| self.is_alive(owner, now))
    }

    /// Whether an owner's time is not over.
    pub(super) fn is_alive(&self, owner: OwnerId, now: Timestamp) -> bool {
        self.owners.get(&owner).is_some_and(|owner| owner.expires_at > now)
    }

    /// What was remembered under a key.
    pub(super) fn remembered(&self, workspace: WorkspaceId, asked: &Idempotency) -> Option<&Remembered> {
        self.idempotency
            .get(&(workspace, asked.scope.clone(), asked.key.clone()))
    }

    /// Remembers a request, and now and then forgets old ones.
    pub(super) fn remember(&mut self, key: SessionKey, asked: &Idempotency, outcome: Outcome) {
        let now = outcome.at;
        if self
            .pruned
            .is_none_or(|pruned| now >= pruned.plus_millis(limits::PRUNE_EVERY_MILLIS))
        {
            self.pruned = Some(now);
            self.idempotency
                .retain(|_, remembered| now <= remembered.outcome.at.plus_millis(limits::IDEMPOTENCY_MILLIS));
        }
        let remembered = Remembered {
            body_hash: asked.body_hash.clone(),
            session: key.session,
            outcome,
        };
        self.idempotency
            .insert((key.workspace, asked.scope.clone(), asked.key.clone()), remembered);
    }

    /// Changes a session's hot columns, and notes it when a list of sessions looks different after.
    pub(super) fn change<T>(&mut self, key: SessionKey, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(&key)?;
        let before = session.head.clone();
        let outcome = change(session);
        if session.head.is_news(&before) {
            self.changes += 1;
            session.changed = self.changes;
        }
        Some(outcome)
    }

    /// Sets the columns clients own; that is always a change.
    pub(super) fn patch(&mut self, key: SessionKey, patch: &SessionPatch) {
        if *patch == SessionPatch::default() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            session.patch(patch);
            self.changes += 1;
            session.changed = self.changes;
        }
    }

    /// A session as the port shows it.
    pub(super) fn row(&self, key: SessionKey, session: &Session, now: Timestamp) -> SessionRow {
        let head = session.head.clone();
        let details = session.details.clone();
        SessionRow {
            key,
            head: head.head,
            epoch: head.epoch,
            held: self.is_held(&head, now),
            status: head.status,
            stop_reason: head.stop_reason,
            turn: head.turn,
            ready_at: head.ready_at,
            attempts: head.attempts,
            quarantined: head.quarantined,
            usage: head.usage,
            place: head.place,
            hold: head.hold,
            last_event: head.telling.and_then(|seq| session.told(seq)),
            agent: details.agent,
            environment_id: details.environment_id,
            environment: details.environment,
            title: details.title,
            metadata: details.metadata,
            resources: details.resources,
            vault_ids: details.vault_ids,
            budget: details.budget,
            created_at: details.created_at,
            updated_at: head.updated_at,
            archived_at: head.archived_at,
            deleted_at: head.deleted_at,
        }
    }
}

impl Session {
    /// The event of an id.
    pub(super) fn by_id(&self, id: EventId) -> Option<&Event> {
        self.ids.get(&id).and_then(|index| self.events.get(*index))
    }

    /// What happened last, from this event on.
    fn told(&self, first_seq: u64) -> Option<LastEvent> {
        let before = usize::try_from(first_seq.saturating_sub(1)).ok()?;
        let events = self.events.get(before..)?.iter().rev();
        let mut bodies = events.filter_map(|event| event.record.decode().ok());
        bodies.find_map(|event| LastEvent::told(&event.body))
    }

    /// What is known of a tool use.
    pub(super) fn tool_use(&self, id: EventId) -> ToolUse {
        let event = self.by_id(id);
        ToolUse {
            kind: event.map(|event| event.record.kind.clone()),
            awaits: event.and_then(|event| event.awaits),
            confirmed: self.answers.contains_key(&(id, Answer::Confirmation)),
            resulted: self.answers.contains_key(&(id, Answer::Result)),
        }
    }

    /// Stores admitted events with their answers and stamps. The first answer and the first stamp stay.
    pub(super) fn store(&mut self, events: &[Draft], processed: &[EventId], outcome: Outcome) {
        for (seq, event) in (outcome.first_seq..).zip(events) {
            if let Some((id, way)) = event.body.answers() {
                self.answers.entry((id, way)).or_insert(seq);
            }
            self.ids.insert(event.id, self.events.len());
            self.events.push(stored(event, seq, outcome));
        }
        for input in processed {
            let by_seq = rules::processed_by(events, outcome, *input);
            self.processed.entry(*input).or_insert((outcome.at, by_seq));
        }
    }

    /// Sets the columns clients own.
    pub(super) fn patch(&mut self, patch: &SessionPatch) {
        if let Some(title) = &patch.title {
            self.details.title.clone_from(title);
        }
        if let Some(metadata) = &patch.metadata {
            self.details.metadata.clone_from(metadata);
        }
        if let Some(agent) = &patch.agent {
            self.details.agent.clone_from(agent);
        }
        if let Some(budget) = &patch.budget {
            self.details.budget.clone_from(budget);
        }
    }
}

fn stored(event: &Draft, seq: u64, outcome: Outcome) -> Event {
    Event {
        awaits: event.body.awaits(),
        processed_at: rules::processed_at(&event.payload),
        record: Record {
            seq,
            id: event.id,
            kind: event.body.kind().to_owned(),
            turn: outcome.turn,
            actor: event.actor.clone(),
            thread_id: None,
            created_at: outcome.at,
            payload: event.payload.clone(),
            private: event.private.clone(),
        },
    }
}
