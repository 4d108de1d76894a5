//! Several sessions' appends in one statement. Whatever is not plainly done with it goes alone.

use std::collections::{HashMap, HashSet};

use perennial_engine::ports::{Append, SessionKey};

use super::append::{self, Judged};
use super::attempt::{self, Done, Job};
use super::failure::{self, Kind};
use super::lane::Waiting;
use super::link::Link;
use super::look::{self, Asked, Moved};
use super::shift::Shift;
use super::write::{self, Entry};

/// A member of a batch: it may happen, as far as this writer knows.
struct Member {
    waiting: Waiting,
    judged: Judged,
}

/// The append, if the job is one that needs no more than its session's row and changes no more columns than others do.
fn shared(waiting: &Waiting) -> Option<&Append> {
    match &waiting.job {
        Job::Append(append) if append::may_share(append) && !append::looks_further(append) => Some(append),
        _ => None,
    }
}

/// Appends all of them and answers their callers. At most one entry per session.
pub(super) async fn together(link: &mut Link, batch: Vec<Waiting>) {
    if batch.len() == 1 {
        return each_alone(link, batch, false).await;
    }
    let (batch, seen) = learn(link, batch).await;
    let (mut members, alone) = judge(link, batch, &seen);
    // Two writers lock the rows they share in the same order.
    members.sort_by_key(|member| member.judged.shift.before.number);
    let mut sent = false;
    let left = match commit(link, &members, &mut sent).await {
        Ok(moved) => answer(link, members, &moved),
        Err(error) => {
            if failure::kind(&error) != Kind::Taken {
                tracing::debug!(%error, members = members.len(), "a batch is taken apart");
            }
            members.into_iter().map(|member| member.waiting).collect()
        }
    };
    for waiting in &left {
        link.forget(waiting.job.key());
    }
    each_alone(link, left, sent).await;
    each_alone(link, alone, false).await;
}

async fn each_alone(link: &mut Link, batch: Vec<Waiting>, sent: bool) {
    for waiting in batch {
        let done = attempt::run(link, &waiting.job, sent, waiting.until).await;
        // A caller that has gone meanwhile hears nothing.
        let _ = waiting.answer.send(done);
    }
}

/// Reads the rows this writer has not seen or does not trust, for those who need no more than the row. Says whose it saw.
async fn learn(link: &mut Link, batch: Vec<Waiting>) -> (Vec<Waiting>, HashSet<SessionKey>) {
    let mut seen = HashSet::new();
    let unknown: Vec<&Append> = batch
        .iter()
        .filter_map(shared)
        .filter(|append| link.trusted(append).is_none())
        .collect();
    if unknown.is_empty() {
        return (batch, seen);
    }
    let asked: Vec<Asked> = unknown.iter().map(|append| Asked::of(append)).collect();
    let Ok(rows) = link.rows(look::sessions(&asked)).await else {
        return (batch, seen);
    };
    for (append, found) in unknown.into_iter().zip(look::found(&rows, &asked)) {
        // An earlier append under the same id, or nothing at all: who goes alone looks again.
        if let Ok(Some(found)) = found
            && found.replay.is_none()
        {
            link.learn(append.key, found.known);
            link.has_looked(append);
            seen.insert(append.key);
        }
    }
    (batch, seen)
}

/// Who may happen; and who is refused or not known, and looks for itself.
fn judge(link: &Link, batch: Vec<Waiting>, seen: &HashSet<SessionKey>) -> (Vec<Member>, Vec<Waiting>) {
    let (mut members, mut alone) = (Vec::new(), Vec::new());
    for waiting in batch {
        let judged = shared(&waiting).and_then(|append| {
            let known = match seen.contains(&append.key) {
                true => link.known(append.key)?,
                false => link.trusted(append)?,
            };
            append::judge(append, known.clone()).ok()
        });
        match judged {
            Some(judged) => members.push(Member { waiting, judged }),
            None => alone.push(waiting),
        }
    }
    (members, alone)
}

async fn commit(link: &mut Link, members: &[Member], sent: &mut bool) -> Result<Vec<Moved>, sqlx::Error> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let shifts: Vec<&Shift> = members.iter().map(|member| &member.judged.shift).collect();
    let entries: Vec<Entry<'_>> = members.iter().filter_map(entry).collect();
    let script = write::appends(&link.site.time, &shifts, &entries);
    for append in members.iter().filter_map(|member| shared(&member.waiting)) {
        link.sends(append);
    }
    look::moved(&link.commit(script, sent).await?)
}

fn entry(member: &Member) -> Option<Entry<'_>> {
    let (number, outcome) = (member.judged.shift.before.number, member.judged.outcome);
    shared(&member.waiting).map(|append| Entry::of(append, number, outcome))
}

/// Answers who moved; returns who did not: their rows changed since this writer saw them.
fn answer(link: &mut Link, members: Vec<Member>, moved: &[Moved]) -> Vec<Waiting> {
    let moved: HashMap<i64, &Moved> = moved.iter().map(|moved| (moved.number, moved)).collect();
    let mut left = Vec::new();
    for Member { waiting, judged } in members {
        let done = match (moved.get(&judged.shift.before.number), &waiting.job) {
            (Some(moved), Job::Append(append)) => append::booked(link, append, judged, moved),
            _ => {
                left.push(waiting);
                continue;
            }
        };
        let _ = waiting.answer.send(Ok(Done::Appended(done)));
    }
    left
}
