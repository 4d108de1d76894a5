//! Failures in progress (`/fail`). They leave no trace in a conversation, so they are counted here, by a place in it, and
//! forgotten when the step succeeds; a process that was started again plays them from the first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::limits;

/// Counts failed attempts by place.
#[derive(Debug)]
pub struct Failures<Place> {
    failed: Mutex<HashMap<Place, usize>>,
}

impl<Place> Default for Failures<Place> {
    fn default() -> Self {
        Self {
            failed: Mutex::default(),
        }
    }
}

impl<Place: Eq + Hash> Failures<Place> {
    /// The status with which this attempt fails, if it does.
    pub fn next(&self, place: Place, failures: &[u16]) -> Option<u16> {
        if failures.is_empty() {
            return None;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= limits::COUNTERS && !failed.contains_key(&place) {
            failed.clear();
        }
        let count = failed.get(&place).copied().unwrap_or_default();
        let status = failures.get(count).copied();
        if status.is_some() {
            failed.insert(place, count + 1);
        } else {
            failed.remove(&place);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_played_as_often_as_asked_at_each_place() {
        let failures = Failures::default();
        let ask = |place: u32| failures.next(place, &[529, 401]);
        assert_eq!([ask(1), ask(1), ask(2)], [Some(529), Some(401), Some(529)]);
        assert_eq!(ask(1), None);
        assert_eq!(ask(1), Some(529), "forgotten when it succeeded");
        assert_eq!(failures.next(3, &[]), None);
    }
}
