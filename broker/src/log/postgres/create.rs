//! Create a session, from nothing or as a fork.

use perennial_engine::ports::{AppendError, ForkFrom, NewSession, SessionKey, StoreError};
use perennial_schema::{AppendId, ExecutorId, Timestamp};
use sqlx::postgres::PgRow;

use super::append;
use super::attempt::{Attempt, Done, Tried};
use super::clock::Time;
use super::link::Link;
use super::look;
use super::rows::{Cells, integer, text};
use super::script::Script;
use super::write::{self, Entry, Place};
use crate::limits;
use crate::log::rules::{self, Head, Outcome, Wake};

/// A session to create.
pub(super) struct Create {
    pub(super) new: NewSession,
    pub(super) fork: Option<ForkFrom>,
}

/// Where a fork copies from.
struct Source {
    number: i64,
    at_seq: u64,
    turn: u64,
}

/// What a creation finds: its number and source, or its answer.
type Looked = Result<(i64, Option<Source>), Result<Done, AppendError>>;

/// One look and one statement.
pub(super) async fn once(attempt: &mut Attempt, link: &mut Link, create: &Create) -> Tried {
    let (number, source) = match look(attempt.sent, link, create).await? {
        Ok(found) => found,
        Err(answer) => return Ok(Some(answer)),
    };
    let place = Place {
        key: create.new.key,
        number,
    };
    let (head, outcome) = create.head(source.as_ref());
    let script = create.script(&link.site.time, place, source.as_ref(), &head, outcome);
    let rows = link.commit(script, &mut attempt.sent).await?;
    let done = look::moved(&rows)?.pop().map(|moved| {
        let at = Timestamp::from(moved.now);
        Outcome { at, ..outcome }.appended(create.new.key.session, false)
    });
    Ok(done.map(|done| Ok(Done::Appended(done))))
}

async fn look(sent: bool, link: &mut Link, create: &Create) -> Result<Looked, sqlx::Error> {
    let key = create.new.key;
    if let Some(asked) = &create.new.idempotency
        && let Some(answer) = append::earlier(link, key, asked, None).await?
    {
        return Ok(Err(answer.map(Done::Appended)));
    }
    let mut asked = vec![(key, rules::creation_id(key))];
    if let Some(fork) = create.fork {
        let source = SessionKey {
            workspace: key.workspace,
            session: fork.session,
        };
        asked.push((source, AppendId::from_uuid(fork.session.uuid())));
    }
    let rows = link.rows(look::sessions(&asked)).await?;
    let mut found = look::found(&rows, &asked).into_iter();
    match found.next() {
        Some(Ok(Some(own))) => return Ok(Err(created(sent, link, key, own.replay))),
        Some(Err(error)) => return Ok(Err(Err(error.into()))),
        Some(Ok(None)) | None => {}
    }
    let rows = link.rows(number_and_turn(found_number(&rows), create.fork)).await?;
    let (number, turn) = match read(&rows, key) {
        Ok(read) => read,
        Err(error) => return Ok(Err(Err(error.into()))),
    };
    let Some(fork) = create.fork else {
        return Ok(Ok((number, None)));
    };
    Ok(match found.next() {
        Some(Ok(Some(source))) if source.known.head.deleted_at.is_none() => {
            let head = source.known.head.head;
            if fork.at_seq > head {
                Err(Err(AppendError::Moved { head }))
            } else {
                Ok((
                    number,
                    Some(Source {
                        number: source.known.number,
                        at_seq: fork.at_seq,
                        turn,
                    }),
                ))
            }
        }
        Some(Err(error)) => Err(Err(error.into())),
        _ => Err(Err(AppendError::NotFound)),
    })
}

/// A session of this id is there already.
fn created(sent: bool, link: &Link, key: SessionKey, replay: Option<Outcome>) -> Result<Done, AppendError> {
    let Some(outcome) = replay else {
        let error = StoreError::Inconsistent {
            table: "appends",
            key: key.session.to_string(),
            message: String::from("the session was created, but not by a creation"),
        };
        return Err(error.into());
    };
    if sent {
        link.site.resolved();
    }
    Ok(Done::Appended(outcome.appended(key.session, true)))
}

/// The number of the session to fork from.
fn found_number(rows: &[PgRow]) -> Option<i64> {
    use sqlx::Row as _;
    rows.get(1).and_then(|row| row.try_get("number").ok())
}

/// The next session's number, and the turn at which a fork cuts.
fn number_and_turn(source: Option<i64>, fork: Option<ForkFrom>) -> Script {
    let mut script = Script::new(
        "SELECT nextval(pg_get_serial_sequence('sessions', 'number')) AS number,
            coalesce((SELECT e.turn FROM events e WHERE e.session = ",
    );
    script
        .bind(source)
        .sql(" AND e.seq = ")
        .bind(fork.map(|fork| integer(fork.at_seq.min(limits::LAST_SEQ))))
        .sql("), 0) AS turn");
    script
}

fn read(rows: &[PgRow], key: SessionKey) -> Result<(i64, u64), StoreError> {
    let Some(row) = rows.first() else {
        return Err(super::failure::unavailable("no number for a session"));
    };
    let cells = Cells {
        row,
        table: "events",
        key: key.session.to_string(),
    };
    Ok((cells.get("number")?, cells.count("turn")?))
}

impl Create {
    fn head(&self, source: Option<&Source>) -> (Head, Outcome) {
        // The statement knows the time.
        let anytime = Timestamp::from_micros(0);
        let mut head = Head::new(anytime);
        head.place = self.new.place;
        if let Some(source) = source {
            head.head = source.at_seq;
            head.turn = source.turn;
        }
        head.project(&self.new.projection, true, anytime);
        let outcome = head.grow(self.new.events.len(), &self.new.projection, anytime);
        (head, outcome)
    }

    fn script(&self, time: &Time, place: Place, source: Option<&Source>, head: &Head, outcome: Outcome) -> Script {
        let mut script = time.script();
        self.session(&mut script, place, head);
        self.details(&mut script, place);
        if let Some(source) = source {
            copy(&mut script, place, source);
        }
        let entry = Entry {
            place,
            append_id: rules::creation_id(place.key),
            events: &self.new.events,
            processed: &self.new.projection.processed,
            idempotency: self.new.idempotency.as_ref(),
            outcome,
            apart: true,
        };
        write::entries(&mut script, &[entry]);
        write::answer(&mut script);
        script
    }

    fn session(&self, script: &mut Script, place: Place, head: &Head) {
        script
            .sql(
                ", bumped AS (INSERT INTO sessions (number, workspace_id, id, agent_id, agent_version, place, head, turn,
                    status, stop_reason, input_tokens, output_tokens, cache_creation_input_tokens,
                    cache_read_input_tokens, quarantined, ready_at, created_at, updated_at) SELECT ",
            )
            .bind(place.number)
            .comma(place.key.workspace.uuid())
            .comma(place.key.session.uuid())
            .comma(self.new.agent.id.uuid())
            .comma(integer(self.new.agent.version))
            .comma(head.place.map(ExecutorId::uuid))
            .comma(integer(head.head))
            .comma(integer(head.turn))
            .comma(head.status.as_str())
            .comma(head.stop_reason.as_ref().map(text))
            .comma(integer(head.usage.input_tokens))
            .comma(integer(head.usage.output_tokens))
            .comma(integer(head.usage.cache_creation_input_tokens))
            .comma(integer(head.usage.cache_read_input_tokens))
            .comma(head.quarantined);
        match head.wake(self.new.projection.ready) {
            Wake::Now => script.sql(", c.now"),
            Wake::At(at) => script.comma(at.datetime()),
            Wake::Keep | Wake::Never => script.sql(", NULL::timestamptz"),
        };
        script.sql(", c.now, c.now FROM clock c RETURNING number, ready_at, updated_at, archived_at, deleted_at)");
    }

    fn details(&self, script: &mut Script, place: Place) {
        let new = &self.new;
        script
            .sql(
                ", detailed AS (INSERT INTO session_details (session, workspace_id, environment_id, agent, environment, title,
                    metadata, resources, vault_ids, budget) SELECT number, ",
            )
            .bind(place.key.workspace.uuid())
            .comma(new.environment_id.uuid())
            .comma(text(&new.agent))
            .comma(text(&new.environment))
            .comma(new.title.as_ref().map(text))
            .comma(text(&new.metadata))
            .comma(text(&new.resources))
            .comma(text(&new.vault_ids))
            .comma(new.budget.as_ref().map(|budget| budget.text().to_owned()))
            .sql(" FROM bumped)");
    }
}

/// Copies rows 1..=at_seq verbatim, with the stamps and answers those rows made.
fn copy(script: &mut Script, place: Place, source: &Source) {
    let cut = integer(source.at_seq);
    script
        .sql(
            ", copied AS (INSERT INTO events (session, seq, turn, created_at, processed_at, id, workspace_id, kind, actor,
                thread_id, awaits, payload, private)
             SELECT b.number, e.seq, e.turn, e.created_at, e.processed_at, e.id, e.workspace_id, e.kind, e.actor, e.thread_id,
                e.awaits, e.payload, e.private
             FROM events e, bumped b WHERE e.session = ",
        )
        .bind(source.number)
        .sql(" AND e.seq <= ")
        .bind(cut)
        .sql(
            " ORDER BY e.seq), copied_stamps AS (INSERT INTO processed (session, by_seq, at, event_id, workspace_id)
             SELECT ",
        )
        .bind(place.number)
        .sql(
            ", p.by_seq, p.at, p.event_id, p.workspace_id
             FROM events e JOIN processed p ON p.event_id = e.id AND p.session = e.session WHERE e.session = ",
        )
        .bind(source.number)
        .sql(" AND e.seq <= ")
        .bind(cut)
        .sql(" AND p.by_seq <= ")
        .bind(cut)
        .sql(
            "), copied_answers AS (INSERT INTO answers (session, seq, event_id, workspace_id, way)
             SELECT ",
        )
        .bind(place.number)
        .sql(
            ", a.seq, a.event_id, a.workspace_id, a.way
             FROM events e JOIN answers a ON a.event_id = e.id AND a.session = e.session WHERE e.session = ",
        )
        .bind(source.number)
        .sql(" AND e.seq <= ")
        .bind(cut)
        .sql(" AND a.seq <= ")
        .bind(cut)
        .sql(")");
}
