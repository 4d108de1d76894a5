//! The writes that appends and creations share, as parts of a [`Script`].

use perennial_engine::ports::{AppendError, SessionKey, SessionPatch, StoreError};
use perennial_schema::event::Draft;
use perennial_schema::model::Usage;
use perennial_schema::{AppendId, EventId, Timestamp};

use super::append::bind_outcome;
use super::failure::{self, Halt};
use super::rows::{Stored, integer};
use super::script::Script;
use crate::limits;
use crate::log::packed;
use crate::log::rules::{self, Head, Outcome};

/// Which session is written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) key: SessionKey,
    pub(super) number: i64,
}

impl Place {
    /// Where a commit stands in the whole log.
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
        table: "commits",
        key: key.session.to_string(),
        message: format!("the append breaks a constraint: {error}"),
    }))
}

/// What one append puts into the log.
pub(super) struct Entry<'a> {
    pub(super) place: Place,
    pub(super) append_id: AppendId,
    pub(super) events: &'a [Draft],
    pub(super) processed: &'a [EventId],
    pub(super) outcome: Outcome,
    /// Remember the append's id beside the log's row instead of in it.
    pub(super) apart: bool,
}

/// Writes appends into the log, one statement per table however many they are.
pub(super) fn entries(script: &mut Script, entries: &[Entry<'_>]) {
    commits(script, entries);
    answers(script, entries);
    processed(script, entries);
    outcomes(script, entries);
}

/// Adds `(?,…),(?,…)` for at least `rows` rows: rounded up to a power of two, so that few statements are ever prepared. The
/// surplus rows stay unbound, that is NULL, and the statement leaves them out.
pub(super) fn places(script: &mut Script, rows: usize, columns: usize) {
    let row = format!("(?{})", ",?".repeat(columns - 1));
    for index in 0..rows.next_power_of_two() {
        script.sql(if index == 0 { "" } else { "," }).sql(&row);
    }
}

/// Binds the surplus rows of [`places`].
pub(super) fn surplus(script: &mut Script, rows: usize, columns: usize) {
    for _ in 0..(rows.next_power_of_two() - rows) * columns {
        script.bind(None::<i64>);
    }
}

/// A row for each append that has events, numbered from its outcome's first seq.
fn commits(script: &mut Script, entries: &[Entry<'_>]) {
    const COLUMNS: usize = 8;
    let rows: Vec<&Entry<'_>> = entries.iter().filter(|entry| !entry.events.is_empty()).collect();
    for chunk in rows.chunks(limits::ROWS_PER_INSERT) {
        script.sql(
            "INSERT INTO commits (position, session, workspace_id, append_id, turn, at, ids, events) SELECT * FROM (VALUES ",
        );
        places(script, chunk.len(), COLUMNS);
        script.sql(") WHERE column1 IS NOT NULL;");
        for entry in chunk {
            let packed = packed::pack(entry.events);
            script
                .bind(entry.place.position(entry.outcome.first_seq))
                .bind(entry.place.number)
                .bind(entry.place.key.workspace.stored())
                .bind((!entry.apart).then(|| entry.append_id.stored()))
                .bind(integer(entry.outcome.turn))
                .bind(entry.outcome.at.micros())
                .bind(packed.ids)
                .bind(packed.events);
        }
        surplus(script, chunk.len(), COLUMNS);
    }
}

/// Which tool uses clients answer; that an answer is the first was checked before.
fn answers(script: &mut Script, entries: &[Entry<'_>]) {
    const COLUMNS: usize = 5;
    let mut rows = Vec::new();
    for entry in entries {
        for (seq, event) in (entry.outcome.first_seq..).zip(entry.events) {
            rows.extend(rules::client_answer(event).map(|(id, way)| (entry.place, seq, id, way)));
        }
    }
    for chunk in rows.chunks(limits::ROWS_PER_INSERT) {
        script.sql("INSERT OR IGNORE INTO answers (session, event_id, way, workspace_id, seq) SELECT * FROM (VALUES ");
        places(script, chunk.len(), COLUMNS);
        script.sql(") WHERE column1 IS NOT NULL;");
        for (place, seq, id, way) in chunk {
            script
                .bind(place.number)
                .bind(id.stored())
                .bind(way.as_str())
                .bind(place.key.workspace.stored())
                .bind(integer(*seq));
        }
        surplus(script, chunk.len(), COLUMNS);
    }
}

/// Stamps inputs as processed; the first stamp stays.
fn processed(script: &mut Script, entries: &[Entry<'_>]) {
    const COLUMNS: usize = 5;
    let rows: Vec<(&Entry<'_>, EventId)> = entries
        .iter()
        .flat_map(|entry| entry.processed.iter().map(move |input| (entry, *input)))
        .collect();
    for chunk in rows.chunks(limits::ROWS_PER_INSERT) {
        script.sql(
            "INSERT OR IGNORE INTO processed (session, event_id, workspace_id, at, by_seq) SELECT * FROM (VALUES ",
        );
        places(script, chunk.len(), COLUMNS);
        script.sql(") WHERE column1 IS NOT NULL;");
        for (entry, input) in chunk {
            script
                .bind(entry.place.number)
                .bind(input.stored())
                .bind(entry.place.key.workspace.stored())
                .bind(entry.outcome.at.micros())
                .bind(integer(rules::processed_by(entry.events, entry.outcome, *input)));
        }
        surplus(script, chunk.len(), COLUMNS);
    }
}

/// What an append came to, where no row of the log carries its id.
fn outcomes(script: &mut Script, entries: &[Entry<'_>]) {
    const COLUMNS: usize = 7;
    let entries: Vec<&Entry<'_>> = entries.iter().filter(|entry| entry.apart).collect();
    if entries.is_empty() {
        return;
    }
    script.sql(
        "INSERT INTO appends (session, append_id, workspace_id, first_seq, last_seq, turn, at) SELECT * FROM (VALUES ",
    );
    places(script, entries.len(), COLUMNS);
    script.sql(") WHERE column1 IS NOT NULL;");
    for entry in &entries {
        script
            .bind(entry.place.number)
            .bind(entry.append_id.stored())
            .bind(entry.place.key.workspace.stored());
        bind_outcome(script, entry.outcome);
    }
    surplus(script, entries.len(), COLUMNS);
}

/// The hot columns of one session; only what changed, so that an ordinary append touches no index of the table.
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
    if (before.status, &before.stop_reason) != (after.status, &after.stop_reason) {
        script
            .sql(", status = ?, stop_reason = ?")
            .bind(after.status.as_str())
            .bind(json(after.stop_reason.as_ref()));
    }
    if before.turn != after.turn {
        script.sql(", turn = ?").bind(integer(after.turn));
    }
    if before.attempts != after.attempts {
        script.sql(", attempts = ?").bind(after.attempts);
    }
    if before.usage != after.usage {
        script
            .sql(", input_tokens = ?, output_tokens = ?, cache_creation_input_tokens = ?, cache_read_input_tokens = ?");
        bind_usage(script, after.usage);
    }
    if before.telling != after.telling {
        script.sql(", telling = ?").bind(after.telling.map(integer));
    }
    indexed(script, place, before, after);
    script.sql(" WHERE number = ?;").bind(place.number);
}

/// The columns that indexes look at, and the rare ones.
fn indexed(script: &mut Script, place: Place, before: &Head, after: &Head) {
    if after.is_news(before) {
        script.sql(NEXT_CHANGE).bind(place.key.workspace.stored());
    }
    if before.place != after.place {
        script.sql(", place = ?").bind(after.place.map(Stored::stored));
    }
    if before.hold != after.hold {
        script
            .sql(", budget_hold = ?, budget_need = ?")
            .bind(after.hold.map(|hold| hold.budget.stored()))
            .bind(after.hold.map(|hold| integer(hold.need)));
    }
    if before.owner != after.owner {
        script.sql(", owner = ?").bind(after.owner.map(Stored::stored));
    }
    if before.ready_at != after.ready_at {
        script.sql(", ready_at = ?").bind(after.ready_at.map(Timestamp::micros));
    }
    if before.quarantined != after.quarantined {
        script.sql(", quarantined = ?").bind(after.quarantined);
    }
    if (before.archived_at, before.deleted_at) != (after.archived_at, after.deleted_at) {
        script
            .sql(", archived_at = ?, deleted_at = ?")
            .bind(after.archived_at.map(Timestamp::micros))
            .bind(after.deleted_at.map(Timestamp::micros));
    }
}

/// The hot columns of several sessions: what no index looks at in one statement for all, the rest for those that need it.
pub(super) fn heads(script: &mut Script, heads: &[(Place, &Head, &Head)]) {
    const COLUMNS: usize = 12;
    script.sql(
        "UPDATE sessions SET updated_at = v.column2, head = v.column3, status = v.column4, stop_reason = v.column5,
            turn = v.column6, attempts = v.column7, input_tokens = v.column8, output_tokens = v.column9,
            cache_creation_input_tokens = v.column10, cache_read_input_tokens = v.column11,
            telling = v.column12 FROM (VALUES ",
    );
    places(script, heads.len(), COLUMNS);
    script.sql(") AS v WHERE sessions.number = v.column1;");
    for (place, _, after) in heads {
        script
            .bind(place.number)
            .bind(after.updated_at.micros())
            .bind(integer(after.head))
            .bind(after.status.as_str())
            .bind(json(after.stop_reason.as_ref()))
            .bind(integer(after.turn))
            .bind(after.attempts);
        bind_usage(script, after.usage);
        script.bind(after.telling.map(integer));
    }
    surplus(script, heads.len(), COLUMNS);
    for (place, before, after) in heads {
        let changed = (
            before.owner,
            before.ready_at,
            before.quarantined,
            before.archived_at,
            before.deleted_at,
            before.place,
            before.hold,
        ) != (
            after.owner,
            after.ready_at,
            after.quarantined,
            after.archived_at,
            after.deleted_at,
            after.place,
            after.hold,
        );
        if changed || after.is_news(before) {
            script.sql("UPDATE sessions SET epoch = ?").bind(integer(after.epoch));
            indexed(script, *place, before, after);
            script.sql(" WHERE number = ?;").bind(place.number);
        }
    }
}

fn bind_usage(script: &mut Script, usage: Usage) {
    script
        .bind(integer(usage.input_tokens))
        .bind(integer(usage.output_tokens))
        .bind(integer(usage.cache_creation_input_tokens))
        .bind(integer(usage.cache_read_input_tokens));
}

fn json(value: Option<&impl serde::Serialize>) -> Option<String> {
    value.and_then(|value| serde_json::to_string(value).ok())
}

/// The next number in a tenant's order of changes: one writer, so the order of numbers is the order of commits.
const NEXT_CHANGE: &str = ", changed = (SELECT coalesce(max(changed), 0) + 1 FROM sessions WHERE workspace_id = ?)";

/// The columns clients own; setting them is always a change.
pub(super) fn patch(script: &mut Script, place: Place, patch: &SessionPatch) {
    if *patch != SessionPatch::default() {
        script
            .sql("UPDATE sessions SET number = number")
            .sql(NEXT_CHANGE)
            .bind(place.key.workspace.stored())
            .sql(" WHERE number = ?;")
            .bind(place.number);
    }
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
    if let Some(budget) = &patch.budget {
        script
            .sql("UPDATE session_details SET budget = ? WHERE session = ?;")
            .bind(budget.as_ref().map(text))
            .bind(place.number);
    }
    if let Some(agent) = &patch.agent {
        script
            .sql("UPDATE session_details SET agent = ? WHERE session = ?;")
            .bind(text(agent))
            .bind(place.number)
            .sql("UPDATE sessions SET agent_id = ?, agent_version = ?, harness = ? WHERE number = ?;")
            .bind(agent.id.stored())
            .bind(integer(agent.version))
            .bind(agent.harness.to_string())
            .bind(place.number);
    }
}

/// A value as JSON text. Our own types encode; one that did not would be read back as inconsistent.
pub(super) fn text<V: serde::Serialize + ?Sized>(value: &V) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
