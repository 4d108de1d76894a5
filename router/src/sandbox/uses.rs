//! Who uses which sandbox: a running call keeps it running, and a sandbox that is being stopped takes no call until it has stopped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_schema::ExecutorId;

/// The uses of all sandboxes of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Arc<Mutex<BTreeMap<ExecutorId, Use>>>);

#[derive(Debug)]
struct Use {
    running: usize,
    /// When the last one began or ended.
    last: Instant,
    stopping: bool,
}

/// A use, until it is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    uses: Uses,
    executor: ExecutorId,
}

impl Uses {
    fn of(&self) -> MutexGuard<'_, BTreeMap<ExecutorId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, executor: ExecutorId, change: impl FnOnce(&mut Use) -> R) -> R {
        let mut all = self.of();
        change(all.entry(executor).or_insert_with(|| Use {
            running: 0,
            last: Instant::now(),
            stopping: false,
        }))
    }

    /// Begins a use.
    pub(crate) fn enter(&self, executor: ExecutorId) -> InUse {
        self.with(executor, |used| {
            used.running += 1;
            used.last = Instant::now();
        });
        InUse {
            uses: self.clone(),
            executor,
        }
    }

    pub(crate) fn wanted(&self, executor: ExecutorId) -> bool {
        self.of().get(&executor).is_some_and(|used| used.running > 0)
    }

    pub(crate) fn all_wanted(&self) -> Vec<ExecutorId> {
        let all = self.of();
        let wanted = all.iter().filter(|(_, used)| used.running > 0);
        wanted.map(|(executor, _)| *executor).collect()
    }

    /// How long nobody has used it; one that this process has not heard of before counts from now.
    pub(crate) fn idle(&self, executor: ExecutorId) -> Duration {
        self.with(executor, |used| match used.running {
            0 => used.last.elapsed(),
            _ => Duration::ZERO,
        })
    }

    /// From here on it takes no call; false when somebody uses it.
    pub(crate) fn begin_stop(&self, executor: ExecutorId) -> bool {
        self.with(executor, |used| {
            used.stopping = used.running == 0;
            used.stopping
        })
    }

    pub(crate) fn end_stop(&self, executor: ExecutorId) {
        self.with(executor, |used| used.stopping = false);
    }

    pub(crate) fn stopping(&self, executor: ExecutorId) -> bool {
        self.of().get(&executor).is_some_and(|used| used.stopping)
    }

    pub(crate) fn forget(&self, executor: ExecutorId) {
        let mut all = self.of();
        if all.get(&executor).is_some_and(|used| used.running == 0) {
            all.remove(&executor);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.uses.with(self.executor, |used| {
            used.running = used.running.saturating_sub(1);
            used.last = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_that_is_used_does_not_stop_and_one_that_stops_says_so() {
        let (uses, one) = (Uses::default(), ExecutorId::from_uuid(Uuid::from_u128(1)));
        assert!(!uses.wanted(one) && !uses.stopping(one));
        let (first, second) = (uses.enter(one), uses.enter(one));
        drop(first);
        assert!(uses.wanted(one) && !uses.begin_stop(one) && !uses.stopping(one));
        assert_eq!(uses.idle(one), Duration::ZERO);
        drop(second);
        assert!(uses.begin_stop(one) && uses.stopping(one));
        let late = uses.enter(one);
        assert!(uses.stopping(one) && uses.wanted(one));
        uses.end_stop(one);
        assert!(!uses.stopping(one));
        uses.forget(one);
        assert!(uses.wanted(one));
        drop(late);
    }
}
