//! Work queues without a disk: the same rules over maps behind a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Clock, StoreError, WORK_KEPT_MILLIS, WORKER_SEEN_MILLIS, WORKERS_COUNTED, Work, WorkQueueKey, WorkQueues,
};
use perennial_schema::{Timestamp, WorkId};

/// Work in this process.
pub struct Memory {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    pieces: BTreeMap<WorkId, Work>,
    workers: BTreeMap<(WorkQueueKey, String), Timestamp>,
}

impl Memory {
    /// Nothing is queued.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(at: Timestamp, millis: u64, now: Timestamp) -> bool {
    at.plus_millis(millis) > now
}

impl Kept {
    fn asked_lately(&self, queue: WorkQueueKey, now: Timestamp) -> u64 {
        let asked = self.workers.iter();
        asked
            .filter(|((of, _), at)| *of == queue && within(**at, WORKER_SEEN_MILLIS, now))
            .count() as u64
    }
}

#[async_trait]
impl WorkQueues for Memory {
    async fn open(
        &self,
        queue: WorkQueueKey,
        lately_millis: u64,
        limit: u32,
    ) -> Result<(Timestamp, Vec<Work>), StoreError> {
        let now = self.clock.now();
        let kept = self.kept();
        let wanted =
            |work: &&Work| work.queue == queue && work.stopped_at.is_none_or(|at| within(at, lately_millis, now));
        let mut found: Vec<Work> = kept.pieces.values().filter(wanted).cloned().collect();
        found.sort_by_key(|work| (work.created_at, work.id));
        found.truncate(limit as usize);
        Ok((now, found))
    }

    async fn add(&self, work: &Work) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let of_session = |other: &Work| {
            other.queue.workspace == work.queue.workspace && other.session == work.session && !other.is_over()
        };
        if kept.pieces.values().any(of_session) {
            return Ok(false);
        }
        let lasts = |work: &Work| work.stopped_at.is_none_or(|at| within(at, WORK_KEPT_MILLIS, now));
        kept.pieces.retain(|_, other| other.queue != work.queue || lasts(other));
        kept.pieces.insert(work.id, work.clone());
        Ok(true)
    }

    async fn swap(&self, seen: u64, work: &Work) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let Some(stored) = kept
            .pieces
            .get_mut(&work.id)
            .filter(|stored| stored.queue == work.queue && stored.revision == seen)
        else {
            return Ok(false);
        };
        *stored = Work {
            revision: seen + 1,
            ..work.clone()
        };
        Ok(true)
    }

    async fn piece(&self, id: WorkId) -> Result<Option<(Timestamp, Work)>, StoreError> {
        let now = self.clock.now();
        Ok(self.kept().pieces.get(&id).map(|work| (now, work.clone())))
    }

    async fn list(
        &self,
        queue: WorkQueueKey,
        before: Option<(Timestamp, WorkId)>,
        limit: u32,
    ) -> Result<Vec<Work>, StoreError> {
        let kept = self.kept();
        let wanted =
            |work: &&Work| work.queue == queue && before.is_none_or(|before| (work.created_at, work.id) < before);
        let mut found: Vec<Work> = kept.pieces.values().filter(wanted).cloned().collect();
        found.sort_by_key(|work| std::cmp::Reverse((work.created_at, work.id)));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn attend(&self, queue: WorkQueueKey, worker: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let place = (queue, worker.to_owned());
        if !kept.workers.contains_key(&place) {
            kept.workers
                .retain(|(of, _), at| *of != queue || within(*at, WORKER_SEEN_MILLIS, now));
            if kept.asked_lately(queue, now) >= WORKERS_COUNTED {
                return Ok(());
            }
        }
        kept.workers.insert(place, now);
        Ok(())
    }

    async fn attending(&self, queue: WorkQueueKey) -> Result<u64, StoreError> {
        Ok(self.kept().asked_lately(queue, self.clock.now()))
    }
}
