//! The pool without a disk: the same rules over a map behind a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{Backlog, Clock, Pool, PoolWorker, Standing, StoreError, WORKER_GONE_MILLIS, WorkerCard};
use perennial_schema::{OwnerId, Timestamp};

use super::FORGOTTEN_MILLIS;
use crate::log;

/// The pool of a memory store's sessions.
pub struct Memory {
    clock: Arc<dyn Clock>,
    sessions: log::memory::Memory,
    workers: Mutex<BTreeMap<OwnerId, PoolWorker>>,
}

impl Memory {
    /// Beside the sessions of this store.
    #[must_use]
    pub fn new(sessions: log::memory::Memory, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            sessions,
            workers: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<OwnerId, PoolWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, worker: &PoolWorker) -> PoolWorker {
        PoolWorker {
            held: self.sessions.held_by(Some(worker.owner)),
            ..worker.clone()
        }
    }
}

fn heard(worker: &PoolWorker, now: Timestamp, within_millis: u64) -> bool {
    worker.seen_at.plus_millis(within_millis) > now
}

#[async_trait]
impl Pool for Memory {
    async fn attend(&self, owner: OwnerId, card: &WorkerCard) -> Result<Standing, StoreError> {
        let now = self.clock.now();
        let mut known = self.known();
        if !known.contains_key(&owner) {
            // Whoever was killed never left.
            known.retain(|_, worker| heard(worker, now, FORGOTTEN_MILLIS));
        }
        let worker = known.entry(owner).or_insert_with(|| PoolWorker {
            owner,
            card: card.clone(),
            standing: Standing::Active,
            held: 0,
            joined_at: now,
            seen_at: now,
        });
        worker.seen_at = now;
        Ok(worker.standing)
    }

    async fn leave(&self, owner: OwnerId) -> Result<(), StoreError> {
        self.known().remove(&owner);
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<PoolWorker>, StoreError> {
        let now = self.clock.now();
        let known = self.known();
        let here = known.values().filter(|worker| heard(worker, now, WORKER_GONE_MILLIS));
        let mut here: Vec<PoolWorker> = here.map(|worker| self.counted(worker)).collect();
        here.sort_by_key(|worker| (worker.joined_at, worker.owner));
        Ok(here)
    }

    async fn steer(&self, owner: OwnerId, standing: Standing) -> Result<Option<PoolWorker>, StoreError> {
        let now = self.clock.now();
        let mut known = self.known();
        let found = known
            .get_mut(&owner)
            .filter(|worker| heard(worker, now, WORKER_GONE_MILLIS));
        Ok(found.map(|worker| {
            worker.standing = standing;
            self.counted(worker)
        }))
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let now = self.clock.now();
        let waiting = self.sessions.waiting_since();
        let oldest = waiting.iter().min().map_or(0, |at| now.micros() - at.micros());
        let known = self.known();
        let active = known
            .values()
            .filter(|worker| worker.standing == Standing::Active && heard(worker, now, WORKER_GONE_MILLIS));
        let slots: Vec<u64> = active.map(|worker| worker.card.slots.into()).collect();
        Ok(Backlog {
            ready: waiting.len() as u64,
            held: self.sessions.held_by(None),
            oldest_millis: u64::try_from(oldest).unwrap_or(0) / 1000,
            workers: slots.len() as u64,
            slots: slots.iter().sum(),
        })
    }
}
