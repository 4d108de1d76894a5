//! The rules of an append, pure: who may, and what it changes on the session row. Backends bring the row and write it back.

use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, BudgetHold, Guard, Idempotency, IdempotencyMode, LAST_EVENT_PAUSE,
    Projection, Ready, SessionKey, StoreError,
};
use perennial_engine::retry;
use perennial_schema::event::{Answer, Awaits, Body, Draft, LastEvent};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{EventId, ExecutorId, OwnerId, SessionId, Timestamp};

use super::sabotage;
use crate::limits;

/// The columns of a session that appends and leases change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) head: u64,
    pub(crate) epoch: u64,
    pub(crate) owner: Option<OwnerId>,
    pub(crate) status: Status,
    pub(crate) stop_reason: Option<StopReason>,
    pub(crate) turn: u64,
    pub(crate) ready_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    pub(crate) quarantined: bool,
    pub(crate) usage: Usage,
    pub(crate) place: Option<ExecutorId>,
    pub(crate) hold: Option<BudgetHold>,
    /// The first seq of the last commit that tells a person something.
    pub(crate) telling: Option<u64>,
    pub(crate) updated_at: Timestamp,
    pub(crate) archived_at: Option<Timestamp>,
    pub(crate) deleted_at: Option<Timestamp>,
}

impl Head {
    /// A session without events.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            head: 0,
            epoch: 0,
            owner: None,
            status: Status::Idle,
            stop_reason: None,
            turn: 0,
            ready_at: None,
            attempts: 0,
            quarantined: false,
            usage: Usage::default(),
            place: None,
            hold: None,
            telling: None,
            updated_at: now,
            archived_at: None,
            deleted_at: None,
        }
    }

    /// Whether an append may happen, as far as the row alone can say.
    pub(crate) fn admit(&self, append: &Append) -> Result<(), AppendError> {
        if self.deleted_at.is_some() {
            return Err(AppendError::NotFound);
        }
        match &append.authority {
            Authority::Holder {
                epoch, only_at_head, ..
            } => self.admit_holder(*epoch, *only_at_head),
            Authority::Client { guards, .. } => {
                // Deleting is the one thing that can still happen to an archived session.
                if self.archived_at.is_some() && !append.projection.patch.delete {
                    return Err(AppendError::Archived);
                }
                if guards.contains(&Guard::NotRunning) && self.is_running() {
                    return Err(AppendError::Running);
                }
                if guards.contains(&Guard::Quarantined) && !self.quarantined {
                    return Err(AppendError::NotQuarantined);
                }
                let is_other = |guard: &Guard| matches!(guard, Guard::Head(head) if *head != self.head);
                if guards.iter().any(is_other) {
                    return Err(AppendError::Moved { head: self.head });
                }
                Ok(())
            }
        }
    }

    /// A lease that was given back or taken away is as dead as an older epoch: its holder must not write any more.
    fn admit_holder(&self, epoch: u64, only_at_head: Option<u64>) -> Result<(), AppendError> {
        if (self.owner.is_none() || self.epoch != epoch) && !sabotage::fence() {
            return Err(AppendError::Fenced { current: self.epoch });
        }
        match only_at_head {
            Some(expected) if expected != self.head && !sabotage::conditional_release() => {
                Err(AppendError::Moved { head: self.head })
            }
            _ => Ok(()),
        }
    }

    fn is_running(&self) -> bool {
        self.owner.is_some()
            || matches!(self.status, Status::Running | Status::Rescheduling)
            // What waits for a daily budget has a time to be ready at, and rests until then.
            || (self.ready_at.is_some() && !self.quarantined && self.hold.is_none())
    }

    /// Applies an admitted append. Returns its numbers.
    pub(crate) fn advance(&mut self, append: &Append, now: Timestamp) -> Outcome {
        let (may_turn, release) = match append.authority {
            Authority::Holder { release, .. } => (true, release),
            Authority::Client { .. } => (false, false),
        };
        self.project(&append.projection, may_turn, now);
        if release {
            self.owner = None;
        }
        self.grow(&append.events, &append.projection, now)
    }

    /// Counts events in. A commit that says and patches nothing (a bare release) is no news to clients.
    pub(crate) fn grow(&mut self, events: &[Draft], projection: &Projection, now: Timestamp) -> Outcome {
        let first_seq = self.head + 1;
        self.head += events.len() as u64;
        if LastEvent::is_among(events) {
            self.telling = Some(first_seq);
        }
        // Of a deleted session nothing is told.
        self.telling = self.telling.filter(|_| self.deleted_at.is_none());
        if !events.is_empty() || projection.patch != perennial_engine::ports::SessionPatch::default() {
            self.updated_at = now;
        }
        Outcome {
            first_seq,
            last_seq: self.head,
            turn: self.turn,
            at: now,
        }
    }

    /// Applies projection columns.
    pub(crate) fn project(&mut self, projection: &Projection, may_turn: bool, now: Timestamp) {
        if let Some(status) = projection.status {
            self.status = status;
        }
        if let Some(stop_reason) = &projection.stop_reason {
            self.stop_reason.clone_from(stop_reason);
            self.hold = projection.hold;
        }
        if let Some(turn) = projection.turn.filter(|_| may_turn) {
            self.turn = turn;
        }
        self.usage.add(projection.usage);
        if projection.progress {
            self.attempts = 0;
        }
        if let Some(quarantined) = projection.quarantined {
            self.quarantined = quarantined;
        }
        self.place = projection.place.or(self.place);
        if projection.patch.archive {
            self.archived_at = self.archived_at.or(Some(now));
        }
        self.ready(projection.ready, now);
        if projection.patch.delete {
            self.deleted_at = Some(now);
            self.ready_at = None;
        }
    }

    /// Whether a list of sessions looks different now; patched columns are looked at elsewhere.
    pub(crate) fn is_news(&self, before: &Self) -> bool {
        let shown = |head: &Self| {
            (
                head.status,
                head.turn,
                head.ready_at.is_some(),
                head.quarantined,
                head.archived_at,
                head.deleted_at,
            )
        };
        shown(self) != shown(before) || self.stop_reason != before.stop_reason || self.says_after_a_pause(before)
    }

    /// Only where both times are known: who leaves them to its database asks there.
    fn says_after_a_pause(&self, before: &Self) -> bool {
        let pause = self.updated_at.micros().saturating_sub(before.updated_at.micros());
        self.telling != before.telling && u128::try_from(pause).is_ok_and(|pause| pause >= LAST_EVENT_PAUSE.as_micros())
    }

    /// Moves the time from which the session may be claimed.
    fn ready(&mut self, ready: Ready, now: Timestamp) {
        match self.wake(ready) {
            Wake::Keep => {}
            // An earlier time stays: who waits longest is served first.
            Wake::Now => {
                self.ready_at = Some(self.ready_at.map_or(now, |at| at.min(now)));
                self.hold = None;
            }
            Wake::At(at) => self.ready_at = Some(at),
            Wake::Never => self.ready_at = None,
        }
    }

    /// What that comes to for this row, as far as it can be said without a clock.
    pub(crate) fn wake(&self, ready: Ready) -> Wake {
        match ready {
            Ready::Keep => Wake::Keep,
            Ready::Now | Ready::UnlessParked if self.quarantined => Wake::Keep,
            Ready::UnlessParked if matches!(self.stop_reason, Some(StopReason::RequiresAction { .. })) => Wake::Keep,
            Ready::Now | Ready::UnlessParked => Wake::Now,
            Ready::At(at) => Wake::At(at),
            Ready::Never => Wake::Never,
        }
    }

    /// The budget the session rests for has room; false when it is set aside.
    pub(crate) fn wake_up(&mut self, now: Timestamp) -> bool {
        self.ready(Ready::Now, now);
        self.hold.is_none()
    }

    /// Gives a lease back without an event.
    pub(crate) fn release(&mut self, ready: Ready, only_at_head: u64, now: Timestamp) {
        self.owner = None;
        if self.head == only_at_head || sabotage::conditional_release() {
            self.ready(ready, now);
        } else {
            self.ready_at = self.ready_at.or(Some(now));
        }
    }

    /// Takes the lease of a dead process away: one attempt more, and from the third on a delay (I15).
    pub(crate) fn free_after_death(&mut self, now: Timestamp) {
        self.owner = None;
        self.attempts = self.attempts.saturating_add(1);
        let delay = retry::attempt_delay_millis(self.attempts);
        if delay > 0 {
            self.ready_at = self.ready_at.map(|at| at.max(now.plus_millis(delay)));
        }
    }
}

/// Where the time of the next claim goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Stays.
    Keep,
    /// Now, or earlier when it was.
    Now,
    /// There.
    At(Timestamp),
    /// Nowhere.
    Never,
}

/// What an append came to; stored under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) turn: u64,
    pub(crate) at: Timestamp,
}

impl Outcome {
    /// As the port says it.
    pub(crate) fn appended(self, session: SessionId, replayed: bool) -> Appended {
        Appended {
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            at: self.at,
            turn: self.turn,
            replayed,
            session,
        }
    }
}

/// What the log knows of a tool use.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolUse {
    /// Type of the event, none when there is no such event.
    pub(crate) kind: Option<String>,
    /// What it waits for.
    pub(crate) awaits: Option<Awaits>,
    /// A confirmation is stored.
    pub(crate) confirmed: bool,
    /// A result is stored.
    pub(crate) resulted: bool,
}

impl ToolUse {
    /// Checks [`Guard::Unanswered`]. A result ends every wait: an interrupt closes calls that wait for a confirmation, too.
    pub(crate) fn unanswered(&self, id: EventId, awaits: Awaits) -> Result<(), AppendError> {
        let waits = match awaits {
            // With `ask`, a self-hosted worker's result is awaited once the confirmation is there.
            Awaits::ToolResult if self.kind.as_deref() == Some("agent.tool_use") => {
                self.awaits == Some(Awaits::ToolResult) || self.confirmed
            }
            Awaits::ToolResult => false,
            Awaits::Confirmation | Awaits::CustomResult => self.awaits == Some(awaits),
        };
        if !waits {
            return Err(AppendError::NotAwaited(id));
        }
        if (self.resulted || (awaits == Awaits::Confirmation && self.confirmed)) && !sabotage::dedupe() {
            return Err(AppendError::AlreadyAnswered(id));
        }
        Ok(())
    }

    /// At most one answer of each way.
    pub(crate) fn accepts(&self, id: EventId, way: Answer) -> Result<(), AppendError> {
        let taken = match way {
            Answer::Confirmation => self.confirmed,
            Answer::Result => self.resulted,
        };
        if taken {
            Err(AppendError::AlreadyAnswered(id))
        } else {
            Ok(())
        }
    }
}

/// The tool uses a client append asks about or answers.
pub(crate) fn tool_uses(append: &Append) -> Vec<EventId> {
    let Authority::Client { guards, .. } = &append.authority else {
        return Vec::new();
    };
    let mut ids: Vec<EventId> = guards
        .iter()
        .filter_map(|guard| match guard {
            Guard::Unanswered { tool_use_id, .. } => Some(*tool_use_id),
            Guard::NotRunning | Guard::Quarantined | Guard::Head(_) => None,
        })
        .chain(
            append
                .events
                .iter()
                .filter_map(|event| event.body.answers().map(|(id, _)| id)),
        )
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Checks a client append against what is known of the tool uses it names.
pub(crate) fn check_answers(append: &Append, known: &mut [(EventId, ToolUse)]) -> Result<(), AppendError> {
    let Authority::Client { guards, .. } = &append.authority else {
        return Ok(());
    };
    for guard in guards {
        if let Guard::Unanswered { tool_use_id, awaits } = guard
            && let Some((_, tool)) = known.iter().find(|(id, _)| id == tool_use_id)
        {
            tool.unanswered(*tool_use_id, *awaits)?;
        }
    }
    for (id, way) in append.events.iter().filter_map(|event| event.body.answers()) {
        if let Some((_, tool)) = known.iter_mut().find(|(known, _)| *known == id) {
            tool.accepts(id, way)?;
            match way {
                Answer::Confirmation => tool.confirmed = true,
                Answer::Result => tool.resulted = true,
            }
        }
    }
    Ok(())
}

/// An answered request, as remembered.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) body_hash: String,
    pub(crate) session: SessionId,
    pub(crate) outcome: Outcome,
}

/// Whether a remembered request answers this one. `target` is the session an append names; a creation names none.
pub(crate) fn recall(
    asked: &Idempotency,
    stored: Option<&Remembered>,
    target: Option<SessionId>,
    now: Timestamp,
) -> Result<Option<Appended>, AppendError> {
    let Some(stored) = stored.filter(|_| !sabotage::dedupe()) else {
        return Ok(None);
    };
    let same = stored.body_hash == asked.body_hash && target.is_none_or(|target| target == stored.session);
    let recent = now <= stored.outcome.at.plus_millis(limits::SDK_RETRY_MILLIS);
    match asked.mode {
        IdempotencyMode::Key if !same => Err(AppendError::KeyReused),
        IdempotencyMode::Retry if !(same && recent) => Ok(None),
        IdempotencyMode::Remember => Ok(None),
        IdempotencyMode::Key | IdempotencyMode::Retry => Ok(Some(stored.outcome.appended(stored.session, true))),
    }
}

/// The seq of the event in this append that names an input as processed (the last one when none does).
pub(crate) fn processed_by(events: &[Draft], outcome: Outcome, input: EventId) -> u64 {
    let names_it = |event: &Draft| match &event.body {
        Body::InputProcessed(named) => named.event_ids.contains(&input),
        _ => false,
    };
    events
        .iter()
        .position(names_it)
        .map_or(outcome.last_seq, |index| outcome.first_seq + index as u64)
}

/// Reads `processed_at` from the envelope of a payload; none for queued inputs.
pub(crate) fn processed_at(payload: &str) -> Option<Timestamp> {
    // The envelope comes first, so the first occurrence is never a client's own text.
    const FIELD: &str = "\"processed_at\":";
    let start = payload.find(FIELD)? + FIELD.len();
    let text = payload.get(start..)?.strip_prefix('"')?.split('"').next()?;
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.with_timezone(&chrono::Utc).into())
}

/// Which tool use a client's event answers. What the engine itself says of a call is found in the log.
pub(crate) fn client_answer(event: &Draft) -> Option<(EventId, Answer)> {
    match event.body {
        Body::UserToolConfirmation(_) | Body::UserCustomToolResult(_) | Body::UserToolResult(_) => event.body.answers(),
        _ => None,
    }
}

/// Refuses an append that names one event id twice. Ids are made by the caller and are unique by the way they are made; what
/// an append repeats of an older one is found under its append id, not here.
pub(crate) fn check_ids<'a>(key: SessionKey, events: impl IntoIterator<Item = &'a Draft>) -> Result<(), AppendError> {
    let mut ids: Vec<EventId> = events.into_iter().map(|event| event.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(AppendError::Store(StoreError::Inconsistent {
            table: "commits",
            key: key.session.to_string(),
            message: format!("the append uses the event id {} twice", pair[0]),
        })),
    }
}

/// Under which id a session's creation is remembered: creating the same id again finds it.
pub(crate) fn creation_id(key: SessionKey) -> perennial_schema::AppendId {
    perennial_schema::AppendId::from_uuid(key.session.uuid())
}
