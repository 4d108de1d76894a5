//! What may become of a piece of work: pure, so that every store and every server decides alike.

use std::collections::BTreeMap;

use perennial_schema::{KeyId, SessionId, Timestamp, WorkId};

use super::{Beat, LastBeat, Work, WorkError, WorkQueueKey, WorkState};

impl WorkState {
    /// As the API says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// Of such a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Queued,
            Self::Starting,
            Self::Active,
            Self::Stopping,
            Self::Stopped,
        ];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl Work {
    /// A new piece.
    #[must_use]
    pub const fn new(id: WorkId, queue: WorkQueueKey, session: SessionId, head: u64, now: Timestamp) -> Self {
        Self {
            id,
            queue,
            session,
            head,
            revision: 1,
            state: WorkState::Queued,
            token: None,
            key: None,
            worker: None,
            metadata: BTreeMap::new(),
            created_at: now,
            polled_at: None,
            acknowledged_at: None,
            started_at: None,
            beat_at: None,
            beat_before: None,
            lease_until: None,
            stop_requested_at: None,
            stopped_at: None,
        }
    }

    /// Nobody has it: it was never handed out, or so long ago that whoever has it should have said so.
    #[must_use]
    pub fn is_free(&self, now: Timestamp, reclaim_millis: u64) -> bool {
        self.state == WorkState::Queued && self.polled_at.is_none_or(|at| at.plus_millis(reclaim_millis) <= now)
    }

    /// Handed out, and not acknowledged yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state == WorkState::Queued && self.polled_at.is_some()
    }

    /// It has stopped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == WorkState::Stopped
    }

    /// Its worker was not heard of for the length of its lease.
    #[must_use]
    pub fn is_abandoned(&self, now: Timestamp) -> bool {
        !self.is_over() && self.lease_until.is_some_and(|until| until <= now)
    }

    /// Gives it to somebody; whoever had it before has nothing any more.
    pub fn hand_out(&mut self, token: [u8; 32], key: KeyId, worker: Option<&str>, now: Timestamp) {
        self.token = Some(token);
        self.key = Some(key);
        self.worker = worker.map(str::to_owned);
        self.polled_at = Some(now);
    }

    /// Whoever has it does it. A second time changes nothing.
    ///
    /// # Errors
    /// When nobody has it, or it is served already.
    pub fn acknowledge(&mut self, ttl_millis: u64, now: Timestamp) -> Result<(), WorkError> {
        match self.state {
            WorkState::Queued if self.polled_at.is_some() => {
                self.state = WorkState::Starting;
                self.acknowledged_at = Some(now);
                self.lease_until = Some(now.plus_millis(ttl_millis));
                Ok(())
            }
            WorkState::Starting => Ok(()),
            state => Err(WorkError::NotHandedOut(state)),
        }
    }

    /// Its worker lives. True when the lease was extended; false when the worker is to stop.
    ///
    /// # Errors
    /// When the heartbeat names another one than the last.
    pub fn beat(&mut self, beat: &Beat, now: Timestamp) -> Result<bool, WorkError> {
        if matches!(self.state, WorkState::Stopping | WorkState::Stopped) {
            return Ok(false);
        }
        let last = self.beat_at;
        let named = |beat: LastBeat, stored: Option<Timestamp>| match beat {
            LastBeat::Unsaid => true,
            LastBeat::None => stored.is_none(),
            LastBeat::At(at) => stored == Some(at),
            LastBeat::Unknown => false,
        };
        if self.state == WorkState::Queued {
            return Err(WorkError::NotTheLastBeat);
        }
        // The answer to the first try was lost on its way: it has been counted.
        if beat.repeated && last.is_some() && named(beat.last, self.beat_before) {
            return Ok(true);
        }
        if !named(beat.last, last) {
            return Err(WorkError::NotTheLastBeat);
        }
        self.state = WorkState::Active;
        self.started_at.get_or_insert(now);
        self.beat_before = last;
        // Each is another one, also within a microsecond.
        self.beat_at = Some(last.map_or(now, |last| now.max(Timestamp::from_micros(last.micros() + 1))));
        self.lease_until = Some(now.plus_millis(beat.ttl_millis));
        Ok(true)
    }

    /// Stops it: at once, or when its worker is heard of next; one that nobody serves stops at once.
    ///
    /// # Errors
    /// When it has stopped.
    pub fn stop(&mut self, force: bool, now: Timestamp) -> Result<(), WorkError> {
        if self.is_over() {
            return Err(WorkError::Stopped);
        }
        self.stop_requested_at.get_or_insert(now);
        if force || self.state == WorkState::Queued {
            self.end(now);
        } else {
            self.state = WorkState::Stopping;
        }
        Ok(())
    }

    /// It is over, whoever had it.
    pub fn end(&mut self, now: Timestamp) {
        self.state = WorkState::Stopped;
        self.stopped_at = Some(now);
        self.lease_until = None;
    }

    /// It was stopped on request and left the session as it was: the next piece waits a moment, or a worker that fails at
    /// once would be given one piece after the other.
    #[must_use]
    pub fn did_nothing(&self, head: u64) -> bool {
        self.is_over() && self.stop_requested_at.is_some() && self.head == head
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::{EnvironmentId, WorkspaceId};
    use uuid::Uuid;

    use super::*;

    const TTL: u64 = 30_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_750_000_000_000_000).plus_millis(millis)
    }

    fn queued() -> Work {
        let queue = WorkQueueKey {
            workspace: WorkspaceId::from_uuid(Uuid::nil()),
            environment: EnvironmentId::from_uuid(Uuid::nil()),
        };
        Work::new(
            WorkId::from_uuid(Uuid::nil()),
            queue,
            SessionId::from_uuid(Uuid::nil()),
            7,
            at(0),
        )
    }

    fn handed() -> Work {
        let mut work = queued();
        work.hand_out([1; 32], KeyId::from_uuid(Uuid::nil()), Some("host-1"), at(1));
        work
    }

    fn beat(last: LastBeat) -> Beat {
        Beat {
            last,
            repeated: false,
            ttl_millis: TTL,
        }
    }

    fn again(last: LastBeat) -> Beat {
        Beat {
            repeated: true,
            ..beat(last)
        }
    }

    #[test]
    fn a_piece_that_nobody_acknowledges_is_free_again() {
        assert!(queued().is_free(at(0), 5000));
        let work = handed();
        assert!(!work.is_free(at(5000), 5000) && work.is_pending());
        assert!(work.is_free(at(5001), 5000));
    }

    #[test]
    fn only_what_was_handed_out_is_acknowledged_and_a_repetition_changes_nothing() {
        let refused = queued().acknowledge(TTL, at(2));
        assert_eq!(refused, Err(WorkError::NotHandedOut(WorkState::Queued)));
        let mut work = handed();
        work.acknowledge(TTL, at(2)).unwrap();
        let once = work.clone();
        work.acknowledge(TTL, at(3)).unwrap();
        assert_eq!(work, once);
        work.beat(&beat(LastBeat::None), at(4)).unwrap();
        let refused = work.acknowledge(TTL, at(5));
        assert_eq!(refused, Err(WorkError::NotHandedOut(WorkState::Active)));
    }

    #[test]
    fn each_heartbeat_names_the_last() {
        let mut work = handed();
        assert_eq!(work.beat(&beat(LastBeat::None), at(2)), Err(WorkError::NotTheLastBeat));
        work.acknowledge(TTL, at(2)).unwrap();
        assert_eq!(work.beat(&beat(LastBeat::None), at(3)), Ok(true));
        let first = work.beat_at.unwrap();
        assert_eq!(work.beat(&beat(LastBeat::None), at(4)), Err(WorkError::NotTheLastBeat));
        assert_eq!(
            work.beat(&beat(LastBeat::Unknown), at(4)),
            Err(WorkError::NotTheLastBeat)
        );
        assert_eq!(work.beat(&beat(LastBeat::At(first)), at(3)), Ok(true));
        assert_ne!(work.beat_at, Some(first), "another one, though no time passed");
        assert_eq!(
            work.beat(&beat(LastBeat::At(first)), at(5)),
            Err(WorkError::NotTheLastBeat)
        );
    }

    #[test]
    fn a_heartbeat_whose_answer_was_lost_may_be_repeated() {
        let mut work = handed();
        work.acknowledge(TTL, at(2)).unwrap();
        work.beat(&beat(LastBeat::None), at(3)).unwrap();
        let first = work.beat_at.unwrap();
        assert_eq!(work.beat(&again(LastBeat::None), at(4)), Ok(true));
        assert_eq!(work.beat_at, Some(first));
        work.beat(&beat(LastBeat::At(first)), at(5)).unwrap();
        assert_eq!(work.beat(&again(LastBeat::At(first)), at(6)), Ok(true));
        // What never arrived is no repetition.
        let second = work.beat_at.unwrap();
        assert_eq!(work.beat(&again(LastBeat::At(second)), at(7)), Ok(true));
        assert_ne!(work.beat_at, Some(second));
    }

    #[test]
    fn a_silent_worker_is_given_up_at_the_end_of_its_lease() {
        let mut work = handed();
        work.acknowledge(TTL, at(2)).unwrap();
        work.beat(&beat(LastBeat::None), at(10)).unwrap();
        assert!(!work.is_abandoned(at(9 + TTL)) && work.is_abandoned(at(10 + TTL)));
        work.end(at(10 + TTL));
        assert!(!work.did_nothing(7), "nobody asked for it");
        assert_eq!(work.beat(&beat(LastBeat::Unknown), at(11 + TTL)), Ok(false));
    }

    #[test]
    fn a_stop_waits_for_the_worker_unless_it_is_forced() {
        let mut work = handed();
        work.acknowledge(TTL, at(2)).unwrap();
        work.stop(false, at(3)).unwrap();
        assert_eq!(work.state, WorkState::Stopping);
        assert_eq!(work.beat(&beat(LastBeat::Unknown), at(4)), Ok(false));
        work.stop(true, at(5)).unwrap();
        assert_eq!((work.state, work.stop_requested_at), (WorkState::Stopped, Some(at(3))));
        assert_eq!(work.stop(true, at(6)), Err(WorkError::Stopped));
        assert!(work.did_nothing(7) && !work.did_nothing(8));
        let mut idle = queued();
        idle.stop(false, at(1)).unwrap();
        assert!(idle.is_over());
    }
}
