//! Create a session, from nothing or as a fork.

use async_trait::async_trait;
use perennial_engine::ports::{AppendError, Appended, ForkFrom, NewSession, Past, SessionKey};
use perennial_schema::Timestamp;
use sqlx::{SqliteConnection, query};

use super::failure::{Halt, refuse};
use super::idempotency;
use super::rows::{self, Cells, Stored as _, integer};
use super::script::Script;
use super::write::{self, Place};
use super::writer::Verb;
use crate::log::packed::Packed;
use crate::log::past::{self, Chapter};
use crate::log::rules::{self, Head, Outcome};

/// A session to create.
pub(super) struct Create {
    pub(super) new: NewSession,
    pub(super) fork: Option<ForkFrom>,
    /// What another server's log holds; empty for a fork.
    pub(super) past: Vec<Past>,
}

#[async_trait]
impl Verb for Create {
    type Answer = Appended;
    type Refusal = AppendError;

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Appended, Halt<AppendError>> {
        let key = self.new.key;
        if let Some(asked) = &self.new.idempotency {
            let stored = idempotency::find(db, key.workspace, asked).await?;
            if let Some(earlier) = rules::recall(asked, stored.as_ref(), None, now).map_err(Halt::Refused)? {
                return Ok(earlier);
            }
        }
        if let Some(outcome) = created(db, key).await? {
            return Ok(outcome.appended(key.session, true));
        }
        let source = match self.fork {
            Some(fork) => Some(source(db, key, fork).await?),
            None => None,
        };
        let place = Place {
            key,
            number: next_number(db).await?,
        };
        rules::check_ids(key, past::events(&self.past, &self.new.events)).map_err(Halt::Refused)?;
        let chapters = past::chapters(&self.past);
        let (head, outcome) = self.head(source.as_ref(), &chapters, now);
        let script = self.script(place, source.as_ref(), &chapters, &head, outcome, now);
        match script.run(db).await {
            Ok(()) => Ok(outcome.appended(key.session, false)),
            Err(error) => Err(write::failed(error, key)),
        }
    }

    fn bytes(&self) -> usize {
        past::events(&self.past, &self.new.events)
            .map(|event| event.payload.len())
            .sum()
    }
}

/// Where a fork copies from.
struct Source {
    number: i64,
    at_seq: u64,
    /// Turn of the row in which it cuts.
    turn: u64,
    part: Option<Part>,
}

/// What is left of the row in which a fork cuts, when that is not all of it.
struct Part {
    first_seq: u64,
    at: Timestamp,
    packed: Packed,
}

/// What an earlier creation of this id came to.
async fn created(db: &mut SqliteConnection, key: SessionKey) -> Result<Option<Outcome>, Halt<AppendError>> {
    let row = query(
        "SELECT a.first_seq, a.last_seq, a.turn, a.at FROM sessions s
         JOIN appends a ON a.session = s.number AND a.append_id = ?
         WHERE s.workspace_id = ? AND s.id = ?",
    )
    .bind(rules::creation_id(key).stored())
    .bind(key.workspace.stored())
    .bind(key.session.stored())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let cells = Cells {
        row: &row,
        table: "appends",
        key: key.session.to_string(),
    };
    let outcome = || {
        Ok(Outcome {
            first_seq: cells.count("first_seq")?,
            last_seq: cells.count("last_seq")?,
            turn: cells.count("turn")?,
            at: cells.time("at")?,
        })
    };
    outcome().map(Some).map_err(refuse)
}

async fn source(db: &mut SqliteConnection, to: SessionKey, fork: ForkFrom) -> Result<Source, Halt<AppendError>> {
    let row = query(
        "SELECT c.position, c.turn, c.at, c.ids, c.events, s.number, s.head FROM sessions s
         LEFT JOIN commits c ON c.position = (SELECT max(p.position) FROM commits p
            WHERE p.position > s.number << 32 AND p.position <= (s.number << 32) + ?)
         WHERE s.workspace_id = ? AND s.id = ? AND s.deleted_at IS NULL",
    )
    .bind(integer(fork.at_seq.min(crate::limits::LAST_SEQ)))
    .bind(to.workspace.stored())
    .bind(fork.session.stored())
    .fetch_optional(db)
    .await?;
    let row = row.ok_or(Halt::Refused(AppendError::NotFound))?;
    let cells = Cells {
        row: &row,
        table: "sessions",
        key: fork.session.to_string(),
    };
    let head = cells.count("head").map_err(refuse)?;
    if fork.at_seq > head {
        return Err(Halt::Refused(AppendError::Moved { head }));
    }
    let mut source = Source {
        number: cells.get("number").map_err(refuse)?,
        at_seq: fork.at_seq,
        turn: 0,
        part: None,
    };
    if cells.get::<Option<i64>>("position").map_err(refuse)?.is_some() {
        let commit = rows::commit(&row, fork.session).map_err(refuse)?;
        source.turn = commit.turn;
        if commit.last_seq() > fork.at_seq {
            source.part = Some(Part {
                first_seq: commit.first_seq,
                at: commit.at,
                packed: commit.first(fork.at_seq + 1 - commit.first_seq).map_err(refuse)?,
            });
        }
    }
    Ok(source)
}

/// Numbers are the writer's to give: nobody else inserts sessions.
async fn next_number(db: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(number), 0) + 1 FROM sessions")
        .fetch_one(db)
        .await
}

impl Create {
    fn head(&self, source: Option<&Source>, chapters: &[Chapter<'_>], now: Timestamp) -> (Head, Outcome) {
        let mut head = Head::new(now);
        head.place = self.new.place;
        (head.head, head.turn) = past::end(chapters);
        if let Some(source) = source {
            head.head = source.at_seq;
            head.turn = source.turn;
        }
        head.project(&self.new.projection, true, now);
        let outcome = head.grow(&self.new.events, &self.new.projection, now);
        (head, outcome)
    }

    fn script(
        &self,
        place: Place,
        source: Option<&Source>,
        chapters: &[Chapter<'_>],
        head: &Head,
        outcome: Outcome,
        now: Timestamp,
    ) -> Script {
        let mut script = Script::new();
        self.session(&mut script, place, now);
        self.details(&mut script, place);
        if let Some(source) = source {
            copy(&mut script, place, source);
        }
        let new = &self.new;
        let mut entries: Vec<write::Entry<'_>> = chapters
            .iter()
            .map(|chapter| write::Entry {
                place,
                append_id: chapter.append_id,
                events: chapter.events,
                processed: &chapter.processed,
                outcome: chapter.outcome,
                apart: false,
            })
            .collect();
        entries.push(write::Entry {
            place,
            append_id: rules::creation_id(place.key),
            events: &new.events,
            processed: &new.projection.processed,
            outcome,
            apart: true,
        });
        for entries in entries.chunks(crate::limits::ROWS_PER_INSERT) {
            write::entries(&mut script, entries);
        }
        write::head(&mut script, place, &Head::new(now), head);
        write::patch(&mut script, place, &new.projection.patch);
        if let Some(asked) = &new.idempotency {
            idempotency::remember(&mut script, place.key, asked, outcome);
        }
        script
    }

    /// An empty row; [`write::head`] then says what differs.
    fn session(&self, script: &mut Script, place: Place, now: Timestamp) {
        script
            .sql(
                "INSERT INTO sessions (number, workspace_id, id, head, epoch, status, turn, attempts, quarantined,
                    input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens,
                    agent_id, agent_version, harness, created_at, updated_at, changed)
                 VALUES (?, ?, ?, 0, 0, 'idle', 0, 0, 0, 0, 0, 0, 0, ?, ?, ?, ?, ?,
                    (SELECT coalesce(max(changed), 0) + 1 FROM sessions WHERE workspace_id = ?));",
            )
            .bind(place.number)
            .bind(place.key.workspace.stored())
            .bind(place.key.session.stored())
            .bind(self.new.agent.id.stored())
            .bind(integer(self.new.agent.version))
            .bind(self.new.agent.harness.to_string())
            .bind(now.micros())
            .bind(now.micros())
            .bind(place.key.workspace.stored());
    }

    fn details(&self, script: &mut Script, place: Place) {
        let new = &self.new;
        script
            .sql(
                "INSERT INTO session_details (session, workspace_id, agent, environment_id, environment, title, metadata,
                    resources, vault_ids, budget) VALUES (?,?,?,?,?,?,?,?,?,?);",
            )
            .bind(place.number)
            .bind(place.key.workspace.stored())
            .bind(write::text(&new.agent))
            .bind(new.environment_id.stored())
            .bind(write::text(&new.environment))
            .bind(new.title.clone())
            .bind(write::text(&new.metadata))
            .bind(write::text(&new.resources))
            .bind(write::text(&new.vault_ids))
            .bind(new.budget.as_ref().map(|budget| budget.text().to_owned()));
    }
}

/// Copies events 1..=at_seq verbatim, with the stamps and answers they made.
fn copy(script: &mut Script, place: Place, source: &Source) {
    let cut = integer(source.at_seq);
    let whole = source.part.as_ref().map_or(cut, |part| integer(part.first_seq - 1));
    script
        .sql(
            "INSERT INTO commits (position, session, workspace_id, turn, at, ids, events)
             SELECT (? << 32) | (position & 4294967295), ?, workspace_id, turn, at, ids, events
             FROM commits WHERE position > ? << 32 AND position <= (? << 32) + ? ORDER BY position;",
        )
        .bind(place.number)
        .bind(place.number)
        .bind(source.number)
        .bind(source.number)
        .bind(whole);
    if let Some(part) = &source.part {
        script
            .sql(
                "INSERT INTO commits (position, session, workspace_id, turn, at, ids, events) VALUES (?, ?, ?, ?, ?, ?, ?);",
            )
            .bind(place.position(part.first_seq))
            .bind(place.number)
            .bind(place.key.workspace.stored())
            .bind(integer(source.turn))
            .bind(part.at.micros())
            .bind(part.packed.ids.clone())
            .bind(part.packed.events.clone());
    }
    copy_of(script, place, source.number, cut, "processed", "by_seq", "at");
    copy_of(script, place, source.number, cut, "answers", "seq", "way");
}

/// Copies what `table` says of the copied events up to the cut. Their ids are taken one by one from their rows.
fn copy_of(script: &mut Script, place: Place, source: i64, cut: i64, table: &str, seq: &str, more: &str) {
    script
        .sql(&format!(
            "WITH RECURSIVE of (position, n, id) AS (
                SELECT position, 0, substr(ids, 1, 16) FROM commits WHERE position > ? << 32 AND position <= (? << 32) + ?
                UNION ALL
                SELECT o.position, o.n + 1, substr(c.ids, (o.n + 1) * 16 + 1, 16)
                FROM of o JOIN commits c ON c.position = o.position WHERE length(c.ids) > (o.n + 1) * 16)
             INSERT INTO {table} (session, event_id, workspace_id, {seq}, {more})
             SELECT ?, t.event_id, t.workspace_id, t.{seq}, t.{more}
             FROM of CROSS JOIN {table} t ON t.event_id = of.id AND t.session = ? WHERE t.{seq} <= ?;"
        ))
        .bind(source)
        .bind(source)
        .bind(cut)
        .bind(place.number)
        .bind(source)
        .bind(cut);
}
