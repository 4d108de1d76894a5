//! Create a session, from nothing or as a fork.

use perennial_engine::ports::{AppendError, ForkFrom, NewSession, Past, SessionKey, StoreError};
use perennial_schema::{ExecutorId, Timestamp};
use sqlx::postgres::PgRow;

use super::append;
use super::attempt::{Attempt, Done, Tried};
use super::clock::Time;
use super::link::Link;
use super::look::{self, Asked};
use super::rows::{self, Cells, integer, text};
use super::script::Script;
use super::write::{self, Entry, Place};
use crate::limits;
use crate::log::packed::Packed;
use crate::log::past::{self, Chapter};
use crate::log::rules::{self, Head, Outcome, Wake};

/// A session to create.
pub(super) struct Create {
    pub(super) new: NewSession,
    pub(super) fork: Option<ForkFrom>,
    /// What another server's log holds; empty for a fork.
    pub(super) past: Vec<Past>,
}

/// Where a fork copies from.
struct Source {
    number: i64,
    at_seq: u64,
    cut: Option<Cut>,
}

/// The row of the log in which a fork cuts.
struct Cut {
    first_seq: u64,
    turn: u64,
    at: Timestamp,
    /// What is left of it, when that is not all of it.
    part: Option<Packed>,
}

impl Source {
    fn turn(&self) -> u64 {
        self.cut.as_ref().map_or(0, |cut| cut.turn)
    }

    /// The last event of the last row that is copied whole.
    fn whole(&self) -> u64 {
        match &self.cut {
            Some(Cut {
                part: Some(_),
                first_seq,
                ..
            }) => first_seq - 1,
            _ => self.at_seq,
        }
    }
}

/// What a creation finds: its number and source, or its answer.
type Looked = Result<(i64, Option<Source>), Result<Done, AppendError>>;

/// One look and one statement.
pub(super) async fn once(attempt: &mut Attempt, link: &mut Link, create: &Create) -> Tried {
    if let Err(refusal) = rules::check_ids(create.new.key, past::events(&create.past, &create.new.events)) {
        return Ok(Some(Err(refusal)));
    }
    let (number, source) = match look(attempt.sent, link, create).await? {
        Ok(found) => found,
        Err(answer) => return Ok(Some(answer)),
    };
    let place = Place {
        key: create.new.key,
        number,
    };
    let chapters = past::chapters(&create.past);
    let (head, outcome) = create.head(source.as_ref(), &chapters);
    let script = create.script(&link.site.time, place, source.as_ref(), &chapters, &head, outcome);
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
    let mut asked = vec![Asked::creation(key)];
    if let Some(fork) = create.fork {
        let source = SessionKey {
            workspace: key.workspace,
            session: fork.session,
        };
        asked.push(Asked::creation(source));
    }
    let rows = link.rows(look::sessions(&asked)).await?;
    let mut found = look::found(&rows, &asked).into_iter();
    match found.next() {
        Some(Ok(Some(own))) => return Ok(Err(created(sent, link, key, own.replay))),
        Some(Err(error)) => return Ok(Err(Err(error.into()))),
        Some(Ok(None)) | None => {}
    }
    let rows = link.rows(number_and_cut(found_number(&rows), create.fork)).await?;
    let (number, cut) = match read(&rows, key, create.fork) {
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
                        cut,
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

/// The next session's number, and the row in which a fork cuts.
fn number_and_cut(source: Option<i64>, fork: Option<ForkFrom>) -> Script {
    let mut script = Script::new("SELECT ");
    script
        .sql(rows::COMMIT)
        .sql(
            ", n.number FROM (SELECT nextval(pg_get_serial_sequence('sessions', 'number')) AS number) n
             LEFT JOIN LATERAL (SELECT * FROM commits c WHERE c.session = ",
        )
        .bind(source)
        .sql(" AND c.first_seq <= ")
        .bind(fork.map(|fork| integer(fork.at_seq.min(limits::LAST_SEQ))))
        .sql(" ORDER BY c.first_seq DESC LIMIT 1) c ON true");
    script
}

fn read(rows: &[PgRow], key: SessionKey, fork: Option<ForkFrom>) -> Result<(i64, Option<Cut>), StoreError> {
    let Some(row) = rows.first() else {
        return Err(super::failure::unavailable("no number for a session"));
    };
    let cells = Cells {
        row,
        table: "commits",
        key: key.session.to_string(),
    };
    let number = cells.get("number")?;
    let there: Option<i64> = cells.get("first_seq")?;
    let (Some(fork), Some(_)) = (fork, there) else {
        return Ok((number, None));
    };
    let commit = rows::commit(row, fork.session)?;
    let part = if commit.last_seq() > fork.at_seq {
        Some(commit.first(fork.at_seq + 1 - commit.first_seq)?)
    } else {
        None
    };
    let cut = Cut {
        first_seq: commit.first_seq,
        turn: commit.turn,
        at: commit.at,
        part,
    };
    Ok((number, Some(cut)))
}

impl Create {
    fn head(&self, source: Option<&Source>, chapters: &[Chapter<'_>]) -> (Head, Outcome) {
        // The statement knows the time.
        let anytime = Timestamp::from_micros(0);
        let mut head = Head::new(anytime);
        head.place = self.new.place;
        (head.head, head.turn) = past::end(chapters);
        if let Some(source) = source {
            head.head = source.at_seq;
            head.turn = source.turn();
        }
        head.project(&self.new.projection, true, anytime);
        let outcome = head.grow(&self.new.events, &self.new.projection, anytime);
        (head, outcome)
    }

    fn script(
        &self,
        time: &Time,
        place: Place,
        source: Option<&Source>,
        chapters: &[Chapter<'_>],
        head: &Head,
        outcome: Outcome,
    ) -> Script {
        let mut script = time.script();
        self.session(&mut script, place, head);
        self.details(&mut script, place);
        if let Some(source) = source {
            copy(&mut script, place, source);
        }
        let mut entries: Vec<Entry<'_>> = chapters
            .iter()
            .map(|chapter| Entry {
                place,
                append_id: chapter.append_id,
                events: chapter.events,
                processed: &chapter.processed,
                idempotency: None,
                outcome: chapter.outcome,
                apart: false,
                held: false,
                past: true,
            })
            .collect();
        entries.push(Entry {
            place,
            append_id: rules::creation_id(place.key),
            events: &self.new.events,
            processed: &self.new.projection.processed,
            idempotency: self.new.idempotency.as_ref(),
            outcome,
            apart: true,
            held: false,
            past: false,
        });
        write::entries(&mut script, &entries);
        write::answer(&mut script);
        script
    }

    fn session(&self, script: &mut Script, place: Place, head: &Head) {
        script
            .sql(
                ", bumped AS (INSERT INTO sessions (number, workspace_id, id, agent_id, agent_version, harness, place, head, turn,
                    status, stop_reason, input_tokens, output_tokens, cache_creation_input_tokens,
                    cache_read_input_tokens, quarantined, telling, ready_at, created_at, updated_at) SELECT ",
            )
            .bind(place.number)
            .comma(place.key.workspace.uuid())
            .comma(place.key.session.uuid())
            .comma(self.new.agent.id.uuid())
            .comma(integer(self.new.agent.version))
            .comma(self.new.agent.harness.to_string())
            .comma(head.place.map(ExecutorId::uuid))
            .comma(integer(head.head))
            .comma(integer(head.turn))
            .comma(head.status.as_str())
            .comma(head.stop_reason.as_ref().map(text))
            .comma(integer(head.usage.input_tokens))
            .comma(integer(head.usage.output_tokens))
            .comma(integer(head.usage.cache_creation_input_tokens))
            .comma(integer(head.usage.cache_read_input_tokens))
            .comma(head.quarantined)
            .comma(head.telling.map(integer));
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

/// Copies events 1..=at_seq verbatim, with the stamps and answers they made.
fn copy(script: &mut Script, place: Place, source: &Source) {
    let cut = integer(source.at_seq);
    script
        .sql(
            ", copied AS (INSERT INTO commits (session, first_seq, turn, at, ids, events)
             SELECT b.number, c.first_seq, c.turn, c.at, c.ids, c.events
             FROM commits c, bumped b WHERE c.session = ",
        )
        .bind(source.number)
        .sql(" AND c.first_seq <= ")
        .bind(integer(source.whole()))
        .sql(" ORDER BY c.first_seq)");
    if let Some(Cut {
        part: Some(part),
        first_seq,
        turn,
        at,
    }) = &source.cut
    {
        script
            .sql(
                ", copied_part AS (INSERT INTO commits (session, first_seq, turn, at, ids, events)
                 SELECT b.number, ",
            )
            .bind(integer(*first_seq))
            .comma(integer(*turn))
            .comma(at.datetime())
            .comma(part.ids.as_slice())
            .comma(part.events.as_slice())
            .sql(" FROM bumped b)");
    }
    copy_of(script, place, source.number, cut, "processed", "by_seq", "at");
    copy_of(script, place, source.number, cut, "answers", "seq", "way");
}

/// Copies what `table` says of the copied events up to the cut.
fn copy_of(script: &mut Script, place: Place, source: i64, cut: i64, table: &str, seq: &str, more: &str) {
    script
        .sql(&format!(
            ", copied_{table} AS (INSERT INTO {table} (session, {seq}, {more}, event_id, workspace_id) SELECT "
        ))
        .bind(place.number)
        .sql(&format!(
            ", t.{seq}, t.{more}, t.event_id, t.workspace_id
             FROM commits c CROSS JOIN LATERAL generate_series(1, octet_length(c.ids), 16) AS i
             JOIN {table} t ON t.event_id = encode(substr(c.ids, i, 16), 'hex')::uuid AND t.session = c.session
             WHERE c.session = "
        ))
        .bind(source)
        .sql(" AND c.first_seq <= ")
        .bind(cut)
        .sql(&format!(" AND t.{seq} <= "))
        .bind(cut)
        .sql(")");
}
