//! How far back a claim looks. What was claimable once leaves dead rows in the indexes, and while somebody's old transaction is open no
//! vacuum takes them away: a look at the whole index then reads all of them. So where there are many, a claim first looks at what became
//! ready since the last look at everything, which had left nothing behind; the index is told not to fetch the older rows. What becomes
//! claimable with an older time (its owner died, it was given back) is found by the looks at everything, which go on, less often; at
//! once by a process that freed it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use crate::limits;

/// What this process knows from its last look at everything.
#[derive(Debug)]
pub(super) struct Sight(Mutex<Last>);

#[derive(Debug)]
struct Last {
    at: Instant,
    /// There was nothing older that could be claimed; none if there was, or if looking at everything costs little.
    since: Option<DateTime<Utc>>,
    /// How often something was freed here.
    freed: u64,
}

/// What a look at everything saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When it began, by the database's clock.
    pub(super) at: DateTime<Utc>,
    /// Sessions that were ready and not taken.
    pub(super) left: i64,
    /// Dead rows among all sessions.
    pub(super) dead: i64,
}

impl Sight {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Last {
            at: Instant::now(),
            since: None,
            freed: 0,
        }))
    }

    /// Since when a claim needs to look; none: at everything.
    pub(super) fn since(&self) -> Option<DateTime<Utc>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.since.filter(|_| last.at.elapsed() < limits::LOOK_AT_ALL_MOST)
    }

    /// Whether a claim that found nothing new should look at everything.
    pub(super) fn is_old(&self) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.at.elapsed() >= limits::LOOK_AT_ALL
    }

    /// To be asked before a look at everything; goes with what it saw.
    pub(super) fn begin(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).freed
    }

    /// Everything was looked at, unless something was freed meanwhile.
    pub(super) fn saw(&self, began: u64, seen: Seen) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.left == 0 && last.freed == began;
        // What was not committed yet was not seen.
        let margin = TimeDelta::from_std(limits::UNSEEN).unwrap_or_default();
        last.at = Instant::now();
        last.since = (all && seen.dead >= limits::DEAD_ROWS).then(|| seen.at - margin);
    }

    /// Something was freed: the next claim looks at everything.
    pub(super) fn freed(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.since = None;
        last.freed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(left: i64, dead: i64) -> Seen {
        Seen {
            at: DateTime::from_timestamp(1_000_000, 0).unwrap(),
            left,
            dead,
        }
    }

    #[test]
    fn it_looks_at_everything_unless_that_is_much_and_nothing_was_left() {
        let sight = Sight::new();
        let saw = |left, dead| sight.saw(sight.begin(), seen(left, dead));
        assert_eq!(sight.since(), None, "nothing was seen yet");
        saw(0, limits::DEAD_ROWS - 1);
        assert_eq!(sight.since(), None, "there is little to read");
        saw(1, limits::DEAD_ROWS);
        assert_eq!(sight.since(), None, "something was left");
        saw(0, limits::DEAD_ROWS);
        let margin = TimeDelta::from_std(limits::UNSEEN).unwrap();
        assert_eq!(sight.since(), Some(seen(0, 0).at - margin));
        assert!(!sight.is_old());
        let began = sight.begin();
        sight.freed();
        assert_eq!(sight.since(), None, "something may have an older time");
        sight.saw(began, seen(0, limits::DEAD_ROWS));
        assert_eq!(sight.since(), None, "it may not have been seen");
    }
}
