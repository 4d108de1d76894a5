//! Changes of a session's row that are no append: a lease given back.

use perennial_engine::ports::{Ready, SessionKey};
use perennial_schema::Timestamp;

use super::attempt::{Attempt, Done, Tried};
use super::link::Link;
use super::look::{self, Asked};
use super::rows::Known;
use super::shift::Shift;
use super::write;

/// Gives a lease back. Whose lease it no longer is changes nothing.
pub(super) async fn release(
    attempt: &mut Attempt,
    link: &mut Link,
    key: SessionKey,
    epoch: u64,
    (ready, only_at_head): (Ready, u64),
) -> Tried {
    let Some(known) = row(attempt, link, key).await? else {
        return Ok(Some(Ok(Done::Row(false))));
    };
    if known.head.epoch != epoch || known.head.owner.is_none() {
        return Ok(attempt.fresh.then_some(Ok(Done::Row(false))));
    }
    let shift = Shift::release(known, ready, only_at_head);
    store(attempt, link, key, shift).await
}

async fn row(attempt: &Attempt, link: &mut Link, key: SessionKey) -> Result<Option<Known>, sqlx::Error> {
    if let Some(known) = link.known(key).filter(|_| !attempt.fresh) {
        return Ok(Some(known.clone()));
    }
    let asked = [Asked::creation(key)];
    let rows = link.rows(look::sessions(&asked)).await?;
    match look::found(&rows, &asked).into_iter().next() {
        Some(Ok(found)) => Ok(found.map(|found| found.known)),
        None => Ok(None),
        Some(Err(error)) => Err(sqlx::Error::Decode(error.to_string().into())),
    }
}

async fn store(attempt: &mut Attempt, link: &mut Link, key: SessionKey, shift: Shift) -> Tried {
    let script = write::only_row(&link.site.time, &shift);
    let rows = link.commit(script, &mut attempt.sent).await?;
    let Some(moved) = look::moved(&rows)?.pop() else {
        return Ok(None);
    };
    let mut head = shift.after;
    head.ready_at = moved.ready_at.map(Timestamp::from);
    let known = Known {
        number: shift.before.number,
        revision: shift.before.revision + 1,
        head,
    };
    link.learn(key, known);
    Ok(Some(Ok(Done::Row(true))))
}
