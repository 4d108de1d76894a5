//! Appends that wait at the same moment travel together: one look at all their sessions, one script for all their rows. At
//! most one of each session is in a group; who needs to look further (at tool uses, at an idempotency key) goes alone.
//!
//! Who was written before needs no look ([`Heads`]), as long as the append may happen: a refusal is never given from memory.
//!
//! A transaction that is one such group, and that is most of them, takes one trip to the connection's thread, or two: `BEGIN`
//! goes with the look, if there is one, `COMMIT` with the script ([`whole`]). Any other takes the general way ([`run`]).

use std::collections::HashSet;

use perennial_engine::ports::{Append, AppendError, Clock, SessionPatch, StoreError};
use perennial_schema::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor as _, Row as _, SqliteConnection};

use super::append::{self, Found, Judged};
use super::failure;
use super::heads::Heads;
use super::rows::{self, Stored as _};
use super::script::Script;
use super::write;
use super::writer::{Lost, Member as _, Ticket, Work};
use crate::log::rules;

type Ticketed<'a> = &'a mut Ticket<Append>;

/// Runs a batch that is one group, with its `BEGIN` and `COMMIT`. False when it must go the general way; no transaction is
/// open then, and nothing was written.
pub(super) async fn whole(
    db: &mut SqliteConnection,
    heads: &mut Heads,
    batch: &mut [Work],
    clock: &dyn Clock,
) -> Result<bool, Lost> {
    let Some(mut group) = one_group(batch) else {
        return Ok(false);
    };
    let (mut judged, unknown) = recall(heads, &group, clock.now());
    let mut script = Script::bare();
    if unknown.is_empty() {
        script.sql(BEGIN);
    } else {
        let found = look(db, BEGIN, &group, &unknown).await.map_err(|error| Lost {
            healthy: failure::is_busy(&error),
            said: failure::before_commit(&error),
        })?;
        judge_all(&mut group, &unknown, found, clock.now(), &mut judged);
    }
    fail::fail_point!("broker.commit.before");
    match write(script, &group, &judged).run_and_commit(db).await {
        Ok(()) => acknowledge(heads, &mut group, judged),
        Err(error) if failure::is_statement_only(&error) => {
            rollback(db).await?;
            return Ok(false);
        }
        Err(error) if failure::is_busy(&error) => {
            // Refused at its beginning, or at its end: then it is still open.
            db.execute("ROLLBACK").await.ok();
            return Err(Lost {
                healthy: true,
                said: failure::before_commit(&error),
            });
        }
        Err(error) => {
            return Err(Lost {
                healthy: false,
                said: failure::at_commit(&error),
            });
        }
    }
    fail::fail_point!("broker.commit.after");
    Ok(true)
}

const BEGIN: &str = "BEGIN IMMEDIATE;";

async fn rollback(db: &mut SqliteConnection) -> Result<(), Lost> {
    let done = db.execute("ROLLBACK").await.map_err(|error| Lost {
        healthy: false,
        said: failure::before_commit(&error),
    });
    done.map(|_| ())
}

/// The batch as a group, if it is one.
fn one_group(batch: &mut [Work]) -> Option<Vec<Ticketed<'_>>> {
    let mut sessions = HashSet::with_capacity(batch.len());
    let mut group = Vec::with_capacity(batch.len());
    for work in batch {
        match work {
            Work::Append(ticket) if !goes_alone(&ticket.verb) && sessions.insert(ticket.verb.key) => {
                group.push(ticket.as_mut());
            }
            _ => return None,
        }
    }
    Some(group)
}

/// Runs a transaction's members in order.
pub(super) async fn run(
    db: &mut SqliteConnection,
    heads: &mut Heads,
    batch: &mut [Work],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut group: Vec<Ticketed<'_>> = Vec::new();
    for work in batch {
        match work {
            Work::Append(ticket) => {
                let alone = goes_alone(&ticket.verb);
                if alone || group.iter().any(|other| other.verb.key == ticket.verb.key) {
                    together(db, heads, &mut group, now).await?;
                }
                if alone {
                    ticket.run(db, heads, now).await?;
                } else {
                    group.push(ticket);
                }
            }
            Work::Other(member) => {
                together(db, heads, &mut group, now).await?;
                member.run(db, heads, now).await?;
            }
        }
    }
    together(db, heads, &mut group, now).await
}

fn goes_alone(append: &Append) -> bool {
    append::idempotency_of(append).is_some()
        || append.projection.patch != SessionPatch::default()
        || !rules::tool_uses(append).is_empty()
}

/// Writes a group and empties it.
async fn together(
    db: &mut SqliteConnection,
    heads: &mut Heads,
    group: &mut Vec<Ticketed<'_>>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut group = std::mem::take(group);
    let (mut judged, unknown) = recall(heads, &group, now);
    match (group.as_mut_slice(), unknown.as_slice()) {
        ([], _) => return Ok(()),
        ([ticket], [_]) => return ticket.run(db, heads, now).await,
        (_, []) => {}
        (group, unknown) => {
            let found = look(db, "", group, unknown).await?;
            judge_all(group, unknown, found, now, &mut judged);
        }
    }
    if judged.is_empty() {
        return Ok(());
    }
    match write(Script::new(), &group, &judged).run(db).await {
        Ok(()) => {
            acknowledge(heads, &mut group, judged);
            Ok(())
        }
        // One of them breaks a constraint: alone, each gets its own answer.
        Err(error) if failure::is_statement_only(&error) => {
            for (index, _) in judged {
                group[index].run(db, heads, now).await?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What may happen as far as is known without a look, by its place in the group, and the places of the others. Nobody is refused
/// here: that append may have happened before, and only a look can tell.
fn recall(heads: &mut Heads, group: &[Ticketed<'_>], now: Timestamp) -> (Vec<(usize, Judged)>, Vec<usize>) {
    let (mut judged, mut unknown) = (Vec::with_capacity(group.len()), Vec::new());
    for (index, ticket) in group.iter().enumerate() {
        let known = heads.get(ticket.verb.key);
        let known = known.map(|(number, head)| Found::known(*number, head.clone()));
        match known.map(|found| append::judge(&ticket.verb, found, now)) {
            Some(Ok(admitted)) => judged.push((index, admitted)),
            Some(Err(_)) | None => unknown.push(index),
        }
    }
    (judged, unknown)
}

/// What each of these is found to be: those that may happen are added, by their place in the group; the others have their answer.
fn judge_all(
    group: &mut [Ticketed<'_>],
    places: &[usize],
    found: Vec<Option<Result<Found, StoreError>>>,
    now: Timestamp,
    judged: &mut Vec<(usize, Judged)>,
) {
    for (index, found) in places.iter().zip(found) {
        let ticket = &mut group[*index];
        match judge(&ticket.verb, found, now) {
            Ok(admitted) => judged.push((*index, admitted)),
            Err(answer) => ticket.outcome = Some(answer),
        }
    }
}

fn acknowledge(heads: &mut Heads, group: &mut [Ticketed<'_>], judged: Vec<(usize, Judged)>) {
    for (index, judged) in judged {
        let ticket = &mut group[index];
        ticket.outcome = Some(Ok(judged.outcome.appended(ticket.verb.key.session, false)));
        heads.wrote((ticket.verb.key, judged.place.number, judged.after));
    }
}

type Answer = Result<perennial_engine::ports::Appended, AppendError>;

/// An admitted append, or the answer that is due already.
fn judge(append: &Append, found: Option<Result<Found, StoreError>>, now: Timestamp) -> Result<Judged, Answer> {
    let found = found.ok_or(Err(AppendError::NotFound))?;
    let found = found.map_err(|error| Err(AppendError::Store(error)))?;
    if let Some(outcome) = found.replay {
        return Err(Ok(outcome.appended(append.key.session, true)));
    }
    append::judge(append, found, now).map_err(Err)
}

/// The rows of the sessions at these places, and what earlier appends under the same ids came to; in their order. `begin` goes
/// first.
async fn look(
    db: &mut SqliteConnection,
    begin: &str,
    group: &[Ticketed<'_>],
    places: &[usize],
) -> Result<Vec<Option<Result<Found, StoreError>>>, sqlx::Error> {
    const COLUMNS: usize = 4;
    let mut ask = Script::question(begin);
    ask.sql("WITH asked (slot, workspace_id, id, append_id) AS (VALUES ");
    let appends: Vec<&Append> = places.iter().map(|place| &group[*place].verb).collect();
    write::places(&mut ask, appends.len(), COLUMNS);
    ask.sql(") SELECT asked.slot, ")
        .sql(rows::HEAD)
        .sql(", ")
        .sql(append::FOUND)
        .sql(
            " FROM asked CROSS JOIN sessions s ON s.workspace_id = asked.workspace_id AND s.id = asked.id
          LEFT JOIN commits c ON c.append_id = asked.append_id AND c.session = s.number
          LEFT JOIN appends a ON a.append_id = asked.append_id AND a.session = s.number",
        );
    for (slot, append) in (0_i64..).zip(&appends) {
        ask.bind(slot)
            .bind(append.key.workspace.stored())
            .bind(append.key.session.stored())
            .bind(append.append_id.stored());
    }
    write::surplus(&mut ask, appends.len(), COLUMNS);
    let mut found: Vec<Option<Result<Found, StoreError>>> = appends.iter().map(|_| None).collect();
    for row in ask.rows(db).await? {
        let index = slot(&row)?;
        if let (Some(slot), Some(append)) = (found.get_mut(index), appends.get(index)) {
            *slot = Some(append::found(&row, append));
        }
    }
    Ok(found)
}

fn slot(row: &SqliteRow) -> Result<usize, sqlx::Error> {
    let slot: i64 = row.try_get("slot")?;
    Ok(usize::try_from(slot).unwrap_or(usize::MAX))
}

fn write(mut script: Script, group: &[Ticketed<'_>], judged: &[(usize, Judged)]) -> Script {
    let entries: Vec<write::Entry<'_>> = judged
        .iter()
        .map(|(index, judged)| append::entry(&group[*index].verb, judged))
        .collect();
    match judged {
        [] => {}
        [(_, alone)] => {
            write::entries(&mut script, &entries);
            write::head(&mut script, alone.place, &alone.before, &alone.after);
        }
        several => {
            let heads: Vec<_> = several
                .iter()
                .map(|(_, judged)| (judged.place, &judged.before, &judged.after))
                .collect();
            write::entries(&mut script, &entries);
            write::heads(&mut script, &heads);
        }
    }
    script
}
