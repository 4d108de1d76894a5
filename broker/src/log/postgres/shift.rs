//! What a statement does to a session's row. The rules compute it from the row a writer saw; the statement applies it only
//! where the row still has that revision. So the rules stand in one place, and SQL knows none of them.

use perennial_engine::ports::{Append, LAST_EVENT_PAUSE, Ready, SessionPatch};
use perennial_schema::model::Usage;
use perennial_schema::{ExecutorId, Timestamp};

use super::rows::{self, Known, integer};
use super::script::Script;
use crate::log::rules::{Head, Outcome, Wake};

/// A row's move from a revision to the next. Times are the database's: here stand only the wishes.
#[derive(Clone, Debug)]
pub(super) struct Shift {
    pub(super) before: Known,
    pub(super) after: Head,
    wake: Wake,
    touched: bool,
    archived: bool,
    deleted: bool,
    news: bool,
}

impl Shift {
    /// An admitted append. The outcome's time is not known yet.
    pub(super) fn append(before: Known, append: &Append) -> (Self, Outcome) {
        let mut after = before.head.clone();
        let outcome = after.advance(append, anytime());
        let patch = &append.projection.patch;
        let patched = *patch != SessionPatch::default();
        let shift = Self {
            wake: if patch.delete {
                Wake::Never
            } else {
                after.wake(append.projection.ready)
            },
            touched: !append.events.is_empty() || patched,
            archived: patch.archive,
            deleted: patch.delete,
            news: patched || after.is_news(&before.head),
            before,
            after,
        };
        (shift, outcome)
    }

    /// A lease given back.
    pub(super) fn release(before: Known, ready: Ready, only_at_head: u64) -> Self {
        let mut after = before.head.clone();
        after.release(ready, only_at_head, anytime());
        let wake = if before.head.head == only_at_head || crate::log::sabotage::conditional_release() {
            before.head.wake(ready)
        } else if before.head.ready_at.is_none() {
            Wake::Now
        } else {
            Wake::Keep
        };
        Self::lease(before, after, wake)
    }

    fn lease(before: Known, after: Head, wake: Wake) -> Self {
        Self {
            news: after.is_news(&before.head),
            wake,
            touched: false,
            archived: false,
            deleted: false,
            before,
            after,
        }
    }
}

/// Stands for the commit's time while the rules compute; the statement puts the real one where `Shift` says so.
fn anytime() -> Timestamp {
    Timestamp::from_micros(0)
}

/// Adds `bumped`: the rows that still had their revision, moved. `more` adds to the SET list.
pub(super) fn bump(script: &mut Script, shifts: &[&Shift], more: impl FnOnce(&mut Script)) {
    script.sql(
        ", bumped AS (UPDATE sessions s SET revision = s.revision + 1, head = m.head, status = m.status,
            stop_reason = m.stop_reason, turn = m.turn, attempts = m.attempts, quarantined = m.quarantined,
            input_tokens = m.input_tokens, output_tokens = m.output_tokens,
            cache_creation_input_tokens = m.cache_creation_input_tokens,
            cache_read_input_tokens = m.cache_read_input_tokens,
            place = m.place, owner = CASE WHEN m.held THEN s.owner END,
            telling = m.telling,
            ready_at = CASE m.wake WHEN 'keep' THEN s.ready_at WHEN 'now' THEN least(s.ready_at, c.now) ELSE m.wake_at END,
            updated_at = CASE WHEN m.touched THEN c.now ELSE s.updated_at END,
            archived_at = CASE WHEN m.archived THEN coalesce(s.archived_at, c.now) ELSE s.archived_at END,
            deleted_at = CASE WHEN m.deleted THEN c.now ELSE s.deleted_at END,
            changed = CASE WHEN m.news OR (m.telling IS DISTINCT FROM s.telling AND s.updated_at <= c.now - make_interval(secs => ",
    );
    script.sql(&LAST_EVENT_PAUSE.as_secs().to_string());
    script.sql(")) THEN pg_current_xact_id() ELSE s.changed END");
    holds(script, shifts);
    more(script);
    script.sql(" FROM ");
    columns(script, shifts);
    script.sql(
        ", clock c
         WHERE s.number = m.number AND s.revision = m.revision
         RETURNING s.number, s.ready_at, s.updated_at, s.archived_at, s.deleted_at)",
    );
}

/// Sessions that begin or end to rest for a budget: seldom any, so they have no column of their own in every append.
fn holds(script: &mut Script, shifts: &[&Shift]) {
    let changed: Vec<&Shift> = shifts
        .iter()
        .filter(|shift| shift.before.head.hold != shift.after.hold)
        .copied()
        .collect();
    if changed.is_empty() {
        return;
    }
    script.sql(", budget_hold = CASE s.number");
    for shift in &changed {
        script.sql(" WHEN ").bind(shift.before.number).sql(" THEN ");
        script
            .bind(shift.after.hold.map(|hold| hold.budget.uuid()))
            .sql("::uuid");
    }
    script.sql(" ELSE s.budget_hold END, budget_need = CASE s.number");
    for shift in &changed {
        script.sql(" WHEN ").bind(shift.before.number).sql(" THEN ");
        script
            .bind(shift.after.hold.map(|hold| integer(hold.need)))
            .sql("::bigint");
    }
    script.sql(" ELSE s.budget_need END");
}

fn columns(script: &mut Script, shifts: &[&Shift]) {
    let each = || shifts.iter().copied();
    let usage = |count: fn(&Usage) -> u64| each().map(move |s| integer(count(&s.after.usage)));
    script
        .table(shifts.len())
        .column("number", "bigint", each().map(|s| s.before.number))
        .column("revision", "bigint", each().map(|s| s.before.revision))
        .column("head", "bigint", each().map(|s| integer(s.after.head)))
        .column("status", "text", each().map(|s| s.after.status.as_str()))
        .column(
            "stop_reason",
            "text",
            each().map(|s| s.after.stop_reason.as_ref().map(rows::text)),
        )
        .column("turn", "bigint", each().map(|s| integer(s.after.turn)))
        .column(
            "attempts",
            "integer",
            each().map(|s| i32::try_from(s.after.attempts).unwrap_or(i32::MAX)),
        )
        .column("quarantined", "boolean", each().map(|s| s.after.quarantined))
        .column("input_tokens", "bigint", usage(|usage| usage.input_tokens))
        .column("output_tokens", "bigint", usage(|usage| usage.output_tokens))
        .column(
            "cache_creation_input_tokens",
            "bigint",
            usage(|usage| usage.cache_creation_input_tokens),
        )
        .column(
            "cache_read_input_tokens",
            "bigint",
            usage(|usage| usage.cache_read_input_tokens),
        )
        .column("place", "uuid", each().map(|s| s.after.place.map(ExecutorId::uuid)))
        .column("held", "boolean", each().map(|s| s.after.owner.is_some()))
        .column(
            "wake",
            "text",
            each().map(|s| match s.wake {
                Wake::Keep => "keep",
                Wake::Now => "now",
                Wake::At(_) | Wake::Never => "set",
            }),
        )
        .column(
            "wake_at",
            "timestamptz",
            each().map(|s| match s.wake {
                Wake::At(at) => Some(at.datetime()),
                Wake::Keep | Wake::Now | Wake::Never => None,
            }),
        )
        .column("touched", "boolean", each().map(|s| s.touched))
        .column("archived", "boolean", each().map(|s| s.archived))
        .column("deleted", "boolean", each().map(|s| s.deleted))
        .column("news", "boolean", each().map(|s| s.news))
        .column("telling", "bigint", each().map(|s| s.after.telling.map(integer)))
        .named("m");
}
