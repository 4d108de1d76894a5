//! The one statement of an append: the heads that still are what their writers saw move on, and what goes with them is
//! written. It commits by itself, and it is the whole commit.

use perennial_engine::ports::{Append, Authority, Idempotency, IdempotencyMode, SessionKey, SessionPatch};
use perennial_schema::event::Draft;
use perennial_schema::{AppendId, EventId};

use super::clock::Time;
use super::rows::{integer, text};
use super::script::{Script, Table};
use super::shift::{self, Shift};
use crate::log::packed;
use crate::log::rules::{self, Outcome};

/// Which session is written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) key: SessionKey,
    pub(super) number: i64,
}

/// What one append or creation puts into the log.
pub(super) struct Entry<'a> {
    pub(super) place: Place,
    pub(super) append_id: AppendId,
    pub(super) events: &'a [Draft],
    pub(super) processed: &'a [EventId],
    pub(super) idempotency: Option<&'a Idempotency>,
    pub(super) outcome: Outcome,
    /// Remember the append's id beside the log's row instead of in it.
    pub(super) apart: bool,
    /// A holder's; its id is in no index.
    pub(super) held: bool,
    /// Committed elsewhere, at the outcome's time; all others are committed now.
    pub(super) past: bool,
}

impl<'a> Entry<'a> {
    pub(super) fn of(append: &'a Append, number: i64, outcome: Outcome) -> Self {
        Self {
            place: Place {
                key: append.key,
                number,
            },
            append_id: append.append_id,
            events: &append.events,
            processed: &append.projection.processed,
            idempotency: match &append.authority {
                Authority::Client { idempotency, .. } => idempotency.as_ref(),
                Authority::Holder { .. } => None,
            },
            outcome,
            apart: append.events.is_empty(),
            held: matches!(append.authority, Authority::Holder { .. }),
            past: false,
        }
    }
}

/// Appends to several sessions. Sorted by session, so that two writers lock the rows they share in the same order.
pub(super) fn appends(time: &Time, shifts: &[&Shift], entries: &[Entry<'_>]) -> Script {
    let mut script = time.script();
    shift::bump(&mut script, shifts, |_| {});
    self::entries(&mut script, entries);
    answer(&mut script);
    script
}

/// An append that also sets columns clients own.
pub(super) fn patching(time: &Time, shift: &Shift, entry: &Entry<'_>, patch: &SessionPatch) -> Script {
    let mut script = time.script();
    shift::bump(&mut script, &[shift], |script| {
        if let Some(agent) = &patch.agent {
            script
                .sql(", agent_id = ")
                .bind(agent.id.uuid())
                .sql(", agent_version = ")
                .bind(integer(agent.version))
                .sql(", harness = ")
                .bind(agent.harness.to_string());
        }
    });
    details(&mut script, patch);
    entries(&mut script, std::slice::from_ref(entry));
    answer(&mut script);
    script
}

/// A row changed without an append.
pub(super) fn only_row(time: &Time, shift: &Shift) -> Script {
    let mut script = time.script();
    shift::bump(&mut script, &[shift], |_| {});
    answer(&mut script);
    script
}

pub(super) fn answer(script: &mut Script) {
    script.sql(" SELECT b.number, b.ready_at, b.updated_at, b.archived_at, b.deleted_at, c.now FROM bumped b, clock c");
}

fn details(script: &mut Script, patch: &SessionPatch) {
    if patch.title.is_none() && patch.metadata.is_none() && patch.agent.is_none() && patch.budget.is_none() {
        return;
    }
    script.sql(", detailed AS (UPDATE session_details d SET workspace_id = d.workspace_id");
    if let Some(title) = &patch.title {
        script.sql(", title = ").bind(title.as_ref().map(text));
    }
    if let Some(metadata) = &patch.metadata {
        script.sql(", metadata = ").bind(text(metadata));
    }
    if let Some(agent) = &patch.agent {
        script.sql(", agent = ").bind(text(agent));
    }
    if let Some(budget) = &patch.budget {
        script.sql(", budget = ").bind(budget.as_ref().map(text));
    }
    script.sql(" FROM bumped b WHERE d.session = b.number)");
}

/// What follows `bumped` (columns: number): the log's rows of those sessions.
pub(super) fn entries(script: &mut Script, entries: &[Entry<'_>]) {
    commits(script, entries);
    answers(script, entries);
    processed(script, entries);
    outcomes(script, entries);
    remembered(script, entries);
}

/// Rows of entries whose session was not bumped stay out; `IS TRUE` keeps this a hash look-up.
const OF_BUMPED: &str = " WHERE (r.session IN (SELECT number FROM bumped)) IS TRUE";

/// A row for each entry that has events, numbered from its outcome's first seq.
fn commits(script: &mut Script, entries: &[Entry<'_>]) {
    let rows: Vec<&Entry<'_>> = entries.iter().filter(|entry| !entry.events.is_empty()).collect();
    if rows.is_empty() {
        return;
    }
    let id = |entry: &Entry<'_>, held| (!entry.apart && entry.held == held).then(|| entry.append_id.uuid());
    let each = || rows.iter().copied();
    let (ids, events): (Vec<Vec<u8>>, Vec<Vec<u8>>) = rows
        .iter()
        .map(|entry| packed::pack(entry.events))
        .map(|packed| (packed.ids, packed.events))
        .unzip();
    script
        .sql(
            ", written AS (INSERT INTO commits (session, first_seq, turn, at, append_id, holder_append_id, ids, events)
             SELECT r.session, r.first_seq, r.turn, coalesce(r.at, c.now), r.append_id, r.holder_append_id, r.ids, r.events
             FROM ",
        )
        .table(rows.len())
        .column("session", "bigint", each().map(|entry| entry.place.number))
        .column("first_seq", "bigint", each().map(|entry| integer(entry.outcome.first_seq)))
        .column("turn", "bigint", each().map(|entry| integer(entry.outcome.turn)))
        .column(
            "at",
            "timestamptz",
            each().map(|entry| entry.past.then(|| entry.outcome.at.datetime())),
        )
        .column("append_id", "uuid", each().map(|entry| id(entry, false)))
        .column("holder_append_id", "uuid", each().map(|entry| id(entry, true)))
        .column("ids", "bytea", ids)
        .column("events", "bytea", events)
        .named("r")
        .sql(", clock c")
        .sql(OF_BUMPED)
        .sql(")");
}

/// Which tool uses clients answer; that an answer is the first was checked on the revision this statement names.
fn answers(script: &mut Script, entries: &[Entry<'_>]) {
    let (mut sessions, mut seqs, mut ids, mut workspaces, mut ways) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        for (seq, event) in (entry.outcome.first_seq..).zip(entry.events) {
            if let Some((id, way)) = rules::client_answer(event) {
                sessions.push(entry.place.number);
                seqs.push(integer(seq));
                ids.push(id.uuid());
                workspaces.push(entry.place.key.workspace.uuid());
                ways.push(way.as_str());
            }
        }
    }
    if sessions.is_empty() {
        return;
    }
    script
        .sql(", answered AS (INSERT INTO answers (session, seq, event_id, workspace_id, way) SELECT * FROM ")
        .table(sessions.len())
        .column("session", "bigint", sessions)
        .column("seq", "bigint", seqs)
        .column("event_id", "uuid", ids)
        .column("workspace_id", "uuid", workspaces)
        .column("way", "text", ways)
        .named("r")
        .sql(OF_BUMPED)
        .sql(" ON CONFLICT DO NOTHING)");
}

/// Stamps inputs as processed; the first stamp stays.
fn processed(script: &mut Script, entries: &[Entry<'_>]) {
    let (mut sessions, mut seqs, mut ids, mut workspaces, mut times) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        for input in entry.processed {
            times.push(entry.past.then(|| entry.outcome.at.datetime()));
            sessions.push(entry.place.number);
            seqs.push(integer(rules::processed_by(entry.events, entry.outcome, *input)));
            ids.push(input.uuid());
            workspaces.push(entry.place.key.workspace.uuid());
        }
    }
    if sessions.is_empty() {
        return;
    }
    script
        .sql(
            ", stamped AS (INSERT INTO processed (session, by_seq, at, event_id, workspace_id)
             SELECT r.session, r.by_seq, coalesce(r.at, c.now), r.event_id, r.workspace_id FROM ",
        )
        .table(sessions.len())
        .column("session", "bigint", sessions)
        .column("by_seq", "bigint", seqs)
        .column("event_id", "uuid", ids)
        .column("workspace_id", "uuid", workspaces)
        .column("at", "timestamptz", times)
        .named("r")
        .sql(", clock c")
        .sql(OF_BUMPED)
        .sql(" ON CONFLICT DO NOTHING)");
}

/// What an append came to, where no event carries its id.
fn outcomes(script: &mut Script, entries: &[Entry<'_>]) {
    let apart: Vec<&Entry<'_>> = entries.iter().filter(|entry| entry.apart).collect();
    if apart.is_empty() {
        return;
    }
    script.sql(
        ", noted AS (INSERT INTO appends (session, first_seq, last_seq, turn, at, append_id, workspace_id)
         SELECT r.session, r.first_seq, r.last_seq, r.turn, c.now, r.append_id, r.workspace_id FROM ",
    );
    outcome_table(script, &apart)
        .column("append_id", "uuid", apart.iter().map(|entry| entry.append_id.uuid()))
        .named("r")
        .sql(", clock c")
        .sql(OF_BUMPED)
        .sql(")");
}

/// What the entries came to, as a table that more columns may be added to.
fn outcome_table<'s>(script: &'s mut Script, entries: &[&Entry<'_>]) -> Table<'s> {
    let each = || entries.iter().copied();
    script
        .table(entries.len())
        .column("session", "bigint", each().map(|entry| entry.place.number))
        .column(
            "first_seq",
            "bigint",
            each().map(|entry| integer(entry.outcome.first_seq)),
        )
        .column(
            "last_seq",
            "bigint",
            each().map(|entry| integer(entry.outcome.last_seq)),
        )
        .column("turn", "bigint", each().map(|entry| integer(entry.outcome.turn)))
        .column(
            "workspace_id",
            "uuid",
            each().map(|entry| entry.place.key.workspace.uuid()),
        )
}

/// Requests that may be repeated, beside their effect (I19). A client's key is taken once; what an SDK's first try left is
/// replaced.
fn remembered(script: &mut Script, entries: &[Entry<'_>]) {
    let keyed = |mode: fn(IdempotencyMode) -> bool| -> Vec<&Entry<'_>> {
        entries
            .iter()
            .filter(|entry| entry.idempotency.is_some_and(|asked| mode(asked.mode)))
            .collect()
    };
    let once = keyed(|mode| mode == IdempotencyMode::Key && !crate::log::sabotage::dedupe());
    let replacing = keyed(|mode| mode != IdempotencyMode::Key || crate::log::sabotage::dedupe());
    remember(script, "kept", &once, "");
    remember(
        script,
        "replaced",
        &replacing,
        " ON CONFLICT (workspace_id, scope, key) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq,
            turn = excluded.turn, at = excluded.at, session_id = excluded.session_id, body_hash = excluded.body_hash",
    );
}

fn remember(script: &mut Script, name: &str, entries: &[&Entry<'_>], conflict: &str) {
    if entries.is_empty() {
        return;
    }
    // As many as entries: each of these has one.
    let asked = |value: fn(&Idempotency) -> &str| {
        let asked = entries.iter().filter_map(|entry| entry.idempotency);
        asked.map(value).collect::<Vec<&str>>()
    };
    script.sql(", ").sql(name).sql(
        " AS (INSERT INTO idempotency (first_seq, last_seq, turn, at, workspace_id, session_id, scope, key, body_hash)
         SELECT r.first_seq, r.last_seq, r.turn, c.now, r.workspace_id, r.session_id, r.scope, r.key, r.body_hash FROM ",
    );
    outcome_table(script, entries)
        .column(
            "session_id",
            "uuid",
            entries.iter().map(|entry| entry.place.key.session.uuid()),
        )
        .column("scope", "text", asked(|asked| asked.scope.as_str()))
        .column("key", "text", asked(|asked| asked.key.as_str()))
        .column("body_hash", "text", asked(|asked| asked.body_hash.as_str()))
        .named("r")
        .sql(", clock c")
        .sql(OF_BUMPED)
        .sql(conflict)
        .sql(")");
}
