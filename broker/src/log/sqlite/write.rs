//! The writes that appends and creations share, as parts of a [`Script`].

use perennial_engine::ports::{Append, AppendError, SessionKey, SessionPatch, StoreError};
use perennial_schema::event::Draft;
use perennial_schema::session::StopReason;
use perennial_schema::{AppendId, EventId, Timestamp};

use super::append::bind_outcome;
use super::failure::{self, Halt};
use super::rows::{Stored, integer};
use super::script::Script;
use crate::limits;
use crate::log::rules::{self, Head, Outcome};

/// Which session is written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) key: SessionKey,
    pub(super) number: i64,
}

impl Place {
    /// Where an event stands in the whole log.
    pub(super) fn position(self, seq: u64) -> i64 {
        (self.number << 32) | integer(seq)
    }
}

/// What a failed script means: a broken constraint refuses this caller alone.
pub(super) fn failed(error: sqlx::Error, key: SessionKey) -> Halt<AppendError> {
    if !failure::is_statement_only(&error) {
        return Halt::Lost(error);
    }
    Halt::Refused(AppendError::Store(StoreError::Inconsistent {
        table: "events",
        key: key.session.to_string(),
        message: format!("the append breaks a constraint (is an event id used twice?): {error}"),
    }))
}

/// The events, numbered from the outcome's first seq.
pub(super) fn events(script: &mut Script, place: Place, events: &[Draft], outcome: Outcome) {
    let numbered: Vec<(u64, &Draft)> = (outcome.first_seq..).zip(events).collect();
    for chunk in numbered.chunks(limits::EVENTS_PER_INSERT) {
        script.sql(
            "INSERT INTO events (position, session, workspace_id, seq, id, kind, turn, actor, created_at, processed_at,
                awaits, payload, private) VALUES ",
        );
        for (index, (seq, event)) in chunk.iter().enumerate() {
            script
                .sql(if index == 0 {
                    "(?,?,?,?,?,?,?,?,?,?,?,?,?)"
                } else {
                    ",(?,?,?,?,?,?,?,?,?,?,?,?,?)"
                })
                .bind(place.position(*seq))
                .bind(place.number)
                .bind(place.key.workspace.stored())
                .bind(integer(*seq))
                .bind(event.id.stored())
                .bind(event.body.kind().to_owned())
                .bind(integer(outcome.turn))
                .bind(event.actor.clone())
                .bind(outcome.at.micros())
                .bind(rules::processed_at(&event.payload).map(Timestamp::micros))
                .bind(rules::awaits(event))
                .bind(event.payload.clone())
                .bind(event.private.clone());
        }
        script.sql(";");
    }
}

/// Which tool uses these events answer. A holder closes what is still open and skips what a client answered first; a
/// client's answers were checked before.
pub(super) fn answers(script: &mut Script, place: Place, events: &[Draft], outcome: Outcome, or_ignore: bool) {
    for (seq, event) in (outcome.first_seq..).zip(events) {
        let Some((id, way)) = event.body.answers() else {
            continue;
        };
        script
            .sql(if or_ignore {
                "INSERT OR IGNORE INTO"
            } else {
                "INSERT INTO"
            })
            .sql(" answers (session, event_id, way, workspace_id, seq) VALUES (?,?,?,?,?);")
            .bind(place.number)
            .bind(id.stored())
            .bind(way.as_str())
            .bind(place.key.workspace.stored())
            .bind(integer(seq));
    }
}

/// Stamps inputs as processed; the first stamp stays.
pub(super) fn processed(script: &mut Script, place: Place, append: &Append, outcome: Outcome) {
    stamp(script, place, &append.projection.processed, &append.events, outcome);
}

/// The same for a creation.
pub(super) fn stamp(script: &mut Script, place: Place, inputs: &[EventId], events: &[Draft], outcome: Outcome) {
    for input in inputs {
        script
            .sql("INSERT OR IGNORE INTO processed (session, event_id, workspace_id, at, by_seq) VALUES (?,?,?,?,?);")
            .bind(place.number)
            .bind(input.stored())
            .bind(place.key.workspace.stored())
            .bind(outcome.at.micros())
            .bind(integer(rules::processed_by(events, outcome, *input)));
    }
}

/// What the append came to, under its id.
pub(super) fn outcome(script: &mut Script, place: Place, append_id: AppendId, outcome: Outcome) {
    script
        .sql("INSERT INTO appends (session, append_id, workspace_id, first_seq, last_seq, turn, at) VALUES (?,?,?,?,?,?,?);")
        .bind(place.number)
        .bind(append_id.stored())
        .bind(place.key.workspace.stored());
    bind_outcome(script, outcome);
}

/// The hot columns; only what changed, so that an ordinary append touches no index of the table.
pub(super) fn head(script: &mut Script, place: Place, before: &Head, after: &Head) {
    if before == after {
        return;
    }
    script
        .sql("UPDATE sessions SET updated_at = ?")
        .bind(after.updated_at.micros());
    if before.head != after.head {
        script.sql(", head = ?").bind(integer(after.head));
    }
    if before.epoch != after.epoch {
        script.sql(", epoch = ?").bind(integer(after.epoch));
    }
    if before.owner != after.owner {
        script.sql(", owner = ?").bind(after.owner.map(Stored::stored));
    }
    if (before.status, &before.stop_reason) != (after.status, &after.stop_reason) {
        script
            .sql(", status = ?, stop_reason = ?")
            .bind(after.status.as_str())
            .bind(json(after.stop_reason.as_ref()));
    }
    if before.turn != after.turn {
        script.sql(", turn = ?").bind(integer(after.turn));
    }
    if before.ready_at != after.ready_at {
        script.sql(", ready_at = ?").bind(after.ready_at.map(Timestamp::micros));
    }
    if (before.attempts, before.quarantined) != (after.attempts, after.quarantined) {
        script
            .sql(", attempts = ?, quarantined = ?")
            .bind(after.attempts)
            .bind(after.quarantined);
    }
    if before.usage != after.usage {
        script
            .sql(", input_tokens = ?, output_tokens = ?, cache_creation_input_tokens = ?, cache_read_input_tokens = ?")
            .bind(integer(after.usage.input_tokens))
            .bind(integer(after.usage.output_tokens))
            .bind(integer(after.usage.cache_creation_input_tokens))
            .bind(integer(after.usage.cache_read_input_tokens));
    }
    if (before.archived_at, before.deleted_at) != (after.archived_at, after.deleted_at) {
        script
            .sql(", archived_at = ?, deleted_at = ?")
            .bind(after.archived_at.map(Timestamp::micros))
            .bind(after.deleted_at.map(Timestamp::micros));
    }
    script.sql(" WHERE number = ?;").bind(place.number);
}

fn json(stop_reason: Option<&StopReason>) -> Option<String> {
    stop_reason.and_then(|reason| serde_json::to_string(reason).ok())
}

/// The columns clients own.
pub(super) fn patch(script: &mut Script, place: Place, patch: &SessionPatch) {
    if let Some(title) = &patch.title {
        script
            .sql("UPDATE session_details SET title = ? WHERE session = ?;")
            .bind(title.clone())
            .bind(place.number);
    }
    if let Some(metadata) = &patch.metadata {
        script
            .sql("UPDATE session_details SET metadata = ? WHERE session = ?;")
            .bind(text(metadata))
            .bind(place.number);
    }
    if let Some(agent) = &patch.agent {
        script
            .sql("UPDATE session_details SET agent = ? WHERE session = ?;")
            .bind(text(agent))
            .bind(place.number)
            .sql("UPDATE sessions SET agent_id = ?, agent_version = ? WHERE number = ?;")
            .bind(agent.id.stored())
            .bind(integer(agent.version))
            .bind(place.number);
    }
}

/// A value as JSON text. Our own types encode; one that did not would be read back as inconsistent.
pub(super) fn text<V: serde::Serialize + ?Sized>(value: &V) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
