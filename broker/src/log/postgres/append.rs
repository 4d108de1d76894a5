//! Append: what the rules say of the row as this writer knows it, and the one statement.

use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Idempotency, SessionKey, SessionPatch, StoreError,
};
use perennial_schema::{EventId, SessionId, Timestamp};

use super::attempt::{Attempt, Done, Tried};
use super::failure;
use super::link::Link;
use super::look::{self, Asked, Moved};
use super::rows::{self, Known};
use super::shift::Shift;
use super::write::{self, Entry};
use crate::limits;
use crate::log::reading::Span;
use crate::log::rules::{self, Outcome, ToolUse};

pub(super) fn idempotency_of(append: &Append) -> Option<&Idempotency> {
    match &append.authority {
        Authority::Client { idempotency, .. } => idempotency.as_ref(),
        Authority::Holder { .. } => None,
    }
}

/// Whether an append may share its statement with others.
pub(super) fn may_share(append: &Append) -> bool {
    append.projection.patch == SessionPatch::default()
}

/// An append that may happen, and what it comes to.
pub(super) struct Judged {
    pub(super) shift: Shift,
    pub(super) outcome: Outcome,
}

/// Whether the append may happen, as far as the row can say.
pub(super) fn judge(append: &Append, known: Known) -> Result<Judged, AppendError> {
    known.head.admit(append)?;
    rules::check_ids(append.key, &append.events)?;
    if known.head.head + append.events.len() as u64 > limits::LAST_SEQ {
        return Err(failure::unavailable("the session's log is full: fork it").into());
    }
    let (shift, outcome) = Shift::append(known, append);
    Ok(Judged { shift, outcome })
}

/// Books a statement's answer: what this writer knows now, and what the caller hears.
pub(super) fn booked(link: &mut Link, append: &Append, judged: Judged, moved: &Moved) -> Appended {
    let at = Timestamp::from(moved.now);
    let mut head = judged.shift.after;
    head.ready_at = moved.ready_at.map(Timestamp::from);
    head.updated_at = moved.updated_at.into();
    head.archived_at = moved.archived_at.map(Timestamp::from);
    head.deleted_at = moved.deleted_at.map(Timestamp::from);
    let known = Known {
        number: judged.shift.before.number,
        revision: judged.shift.before.revision + 1,
        head,
    };
    link.learn(append.key, known);
    let outcome = Outcome { at, ..judged.outcome };
    outcome.appended(append.key.session, false)
}

/// One look, if need be, and one statement.
pub(super) async fn once(attempt: &mut Attempt, link: &mut Link, append: &Append) -> Tried {
    let trusted = link
        .trusted(append)
        .filter(|_| !attempt.fresh && !looks_further(append));
    let looks = trusted.is_none();
    let known = match trusted {
        Some(known) => known.clone(),
        None => match look(attempt.sent, link, append).await? {
            Ok(known) => known,
            Err(answer) => return Ok(Some(answer.map(Done::Appended))),
        },
    };
    let judged = match judge(append, known) {
        Ok(judged) => judged,
        // What this writer knew may be old.
        Err(_) if !looks => return Ok(None),
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    let entry = Entry::of(append, judged.shift.before.number, judged.outcome);
    let script = if may_share(append) {
        write::appends(&link.site.time, &[&judged.shift], &[entry])
    } else {
        write::patching(&link.site.time, &judged.shift, &entry, &append.projection.patch)
    };
    link.sends(append);
    let rows = link.commit(script, &mut attempt.sent).await?;
    let moved = look::moved(&rows)?;
    let done = moved.first().map(|moved| booked(link, append, judged, moved));
    Ok(done.map(|done| Ok(Done::Appended(done))))
}

/// Whether an append asks for more than its session's row.
pub(super) fn looks_further(append: &Append) -> bool {
    idempotency_of(append).is_some() || !rules::tool_uses(append).is_empty()
}

/// What an append finds: the row it may move, or its answer.
type Looked = Result<Known, Result<Appended, AppendError>>;

/// Everything an append must know before it may happen.
async fn look(sent: bool, link: &mut Link, append: &Append) -> Result<Looked, sqlx::Error> {
    let asked = [Asked::of(append)];
    let rows = link.rows(look::sessions(&asked)).await?;
    let found = match look::found(&rows, &asked).into_iter().next() {
        Some(Ok(Some(found))) => found,
        Some(Ok(None)) | None => return Ok(Err(Err(AppendError::NotFound))),
        Some(Err(error)) => return Ok(Err(Err(error.into()))),
    };
    if let Some(outcome) = found.replay {
        if sent {
            link.site.resolved();
            tracing::info!(session.id = %append.key.session, "a commit that was in doubt had happened");
        }
        return Ok(Err(Ok(outcome.appended(append.key.session, true))));
    }
    if let Some(asked) = idempotency_of(append)
        && let Some(answer) = earlier(link, append.key, asked, Some(append.key.session)).await?
    {
        return Ok(Err(answer));
    }
    // The row's own refusals come before those of the tool uses.
    if let Err(refusal) = found.known.head.admit(append) {
        return Ok(Err(Err(refusal)));
    }
    let ids = rules::tool_uses(append);
    if !ids.is_empty() {
        let mut tools = match tool_uses(link, append.key, found.known.number, &ids).await? {
            Ok(tools) => tools,
            Err(error) => return Ok(Err(Err(error.into()))),
        };
        if let Err(refusal) = rules::check_answers(append, &mut tools) {
            return Ok(Err(Err(refusal)));
        }
    }
    Ok(Ok(found.known))
}

/// What the log knows of tool uses.
async fn tool_uses(
    link: &mut Link,
    key: SessionKey,
    number: i64,
    ids: &[EventId],
) -> Result<Result<Vec<(EventId, ToolUse)>, StoreError>, sqlx::Error> {
    let rows = link.rows(look::tools(number, ids)).await?;
    let mut tools = Vec::with_capacity(ids.len());
    for (mut follow, from) in look::standing(&rows, ids)? {
        let mut next = from.and_then(Span::from);
        while let Some(span) = next {
            let rows = link.rows(look::piece(number, span)).await?;
            let mut goes_on = !rows.is_empty();
            for row in &rows {
                match rows::commit(row, key.session).and_then(|commit| follow.look(&commit)) {
                    Ok(more) => goes_on &= more,
                    Err(error) => return Ok(Err(error)),
                }
            }
            next = if goes_on { Span::from(span.high + 1) } else { None };
        }
        tools.push((follow.id, follow.tool));
    }
    Ok(Ok(tools))
}

/// What an earlier request under the same key came to.
pub(super) async fn earlier(
    link: &mut Link,
    key: SessionKey,
    asked: &Idempotency,
    target: Option<SessionId>,
) -> Result<Option<Result<Appended, AppendError>>, sqlx::Error> {
    let script = look::remembered(&link.site.time, key.workspace, asked);
    let rows = link.rows(script).await?;
    Ok(match look::recalled(&rows, asked) {
        Ok(Some((stored, now))) => rules::recall(asked, stored.as_ref(), target, now).transpose(),
        Ok(None) => None,
        Err(error) => Some(Err(error.into())),
    })
}
