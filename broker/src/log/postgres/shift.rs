//! What a statement does to a session's row. The rules compute it from the row a writer saw; the statement applies it only
//! where the row still has that revision. So the rules stand in one place, and SQL knows none of them.

use perennial_engine::ports::{Append, LAST_EVENT_PAUSE, Ready, SessionPatch};
use perennial_schema::model::Usage;
use perennial_schema::{ExecutorId, Timestamp};
use sqlx::{Encode, Postgres, Type};

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

    /// Whether it only says more: all else of the row stays.
    fn is_step(&self) -> bool {
        let stays = |head: &Head| {
            (
                head.status,
                head.turn,
                head.attempts,
                head.quarantined,
                head.place,
                head.owner,
                head.hold,
            )
        };
        let (before, after) = (&self.before.head, &self.after);
        stays(before) == stays(after)
            && before.stop_reason == after.stop_reason
            && self.wake == Wake::Keep
            && self.touched
            && !(self.archived || self.deleted || self.news)
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

/// Adds `bumped`: the rows that still had their revision, moved. `more` adds to the SET list. What a step in mid-turn leaves as
/// it is comes in lists of its own, for those alone that change it; `further` says which place of them is a row's.
pub(super) fn bump(script: &mut Script, shifts: &[&Shift], more: impl FnOnce(&mut Script)) {
    let further: Vec<&Shift> = shifts.iter().filter(|shift| !shift.is_step()).copied().collect();
    script.sql(
        ", bumped AS (UPDATE sessions s SET revision = s.revision + 1, head = m.head,
            input_tokens = m.input_tokens, output_tokens = m.output_tokens,
            cache_creation_input_tokens = m.cache_creation_input_tokens,
            cache_read_input_tokens = m.cache_read_input_tokens, telling = m.telling, ",
    );
    if further.is_empty() {
        script.sql("updated_at = c.now, changed = CASE WHEN ");
    } else {
        changes(script, &further);
    }
    script
        .sql("(m.telling IS DISTINCT FROM s.telling AND s.updated_at <= c.now - make_interval(secs => ")
        .sql(&LAST_EVENT_PAUSE.as_secs().to_string())
        .sql(")) THEN pg_current_xact_id() ELSE s.changed END");
    holds(script, &further);
    more(script);
    script.sql(" FROM ");
    columns(script, shifts, !further.is_empty());
    script.sql(
        ", clock c
         WHERE s.number = m.number AND s.revision = m.revision
         RETURNING s.number, s.ready_at, s.updated_at, s.archived_at, s.deleted_at)",
    );
}

/// What those change that begin or end something.
fn changes(script: &mut Script, further: &[&Shift]) {
    let each = || further.iter().copied();
    script.sql("status = coalesce(");
    pick(script, "text", each().map(|s| s.after.status.as_str()));
    script.sql(", s.status), stop_reason = CASE WHEN m.further IS NULL THEN s.stop_reason ELSE ");
    pick(
        script,
        "text",
        each().map(|s| s.after.stop_reason.as_ref().map(rows::text)),
    );
    script.sql(" END, turn = coalesce(");
    pick(script, "bigint", each().map(|s| integer(s.after.turn)));
    script.sql(", s.turn), attempts = coalesce(");
    let attempts = |s: &Shift| i32::try_from(s.after.attempts).unwrap_or(i32::MAX);
    pick(script, "integer", each().map(attempts));
    script.sql(", s.attempts), quarantined = coalesce(");
    pick(script, "boolean", each().map(|s| s.after.quarantined));
    script.sql(", s.quarantined), place = CASE WHEN m.further IS NULL THEN s.place ELSE ");
    pick(script, "uuid", each().map(|s| s.after.place.map(ExecutorId::uuid)));
    script.sql(" END, owner = CASE WHEN ");
    pick(script, "boolean", each().map(|s| s.after.owner.is_some()));
    script.sql(" IS NOT FALSE THEN s.owner END, ready_at = CASE ");
    pick(
        script,
        "text",
        each().map(|s| match s.wake {
            Wake::Keep => "keep",
            Wake::Now => "now",
            Wake::At(_) | Wake::Never => "set",
        }),
    );
    script.sql(" WHEN 'now' THEN least(s.ready_at, c.now) WHEN 'set' THEN ");
    pick(
        script,
        "timestamptz",
        each().map(|s| match s.wake {
            Wake::At(at) => Some(at.datetime()),
            Wake::Keep | Wake::Now | Wake::Never => None,
        }),
    );
    script.sql(" ELSE s.ready_at END, updated_at = CASE WHEN ");
    pick(script, "boolean", each().map(|s| s.touched));
    script.sql(" IS NOT FALSE THEN c.now ELSE s.updated_at END, archived_at = CASE WHEN ");
    pick(script, "boolean", each().map(|s| s.archived));
    script.sql(" THEN coalesce(s.archived_at, c.now) ELSE s.archived_at END, deleted_at = CASE WHEN ");
    pick(script, "boolean", each().map(|s| s.deleted));
    script.sql(" THEN c.now ELSE s.deleted_at END, changed = CASE WHEN ");
    pick(script, "boolean", each().map(|s| s.news));
    script.sql(" OR ");
}

/// A row's own of a list of values; null for a row that has none.
fn pick<'q, V>(script: &mut Script, kind: &str, values: impl Iterator<Item = V>)
where
    Vec<V>: Encode<'q, Postgres> + Type<Postgres>,
{
    script.sql("(").bind(values.collect::<Vec<V>>());
    script.sql("::").sql(kind).sql("[])[m.further]");
}

/// Sessions that begin or end to rest for a budget: seldom any, so they have no column of their own.
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

/// What every append changes; and where the rest stands for those that change more.
fn columns(script: &mut Script, shifts: &[&Shift], further: bool) {
    let each = || shifts.iter().copied();
    let usage = |count: fn(&Usage) -> u64| each().map(move |s| integer(count(&s.after.usage)));
    let mut table = script
        .table(shifts.len())
        .column("number", "bigint", each().map(|s| s.before.number))
        .column("revision", "bigint", each().map(|s| s.before.revision))
        .column("head", "bigint", each().map(|s| integer(s.after.head)))
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
        .column("telling", "bigint", each().map(|s| s.after.telling.map(integer)));
    if further {
        let mut places = 1..;
        let place = |s: &Shift| if s.is_step() { None } else { places.next() };
        table = table.column("further", "integer", each().map(place));
    }
    table.named("m");
}
