//! The pool without a disk: the same rules over a map behind a mutex.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use perennial_engine::ports::{
    Backlog, Clock, Demand, Pool, PoolWorker, Standing, StoreError, WORKER_GONE_MILLIS, WorkerCard,
};
use perennial_schema::{OwnerId, Timestamp, WorkspaceId};

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

    /// How many of those that wait are beyond what their workspaces get.
    fn over(&self, waiting: &[(WorkspaceId, String, Timestamp)]) -> u64 {
        let Some(slots) = self.sessions.workspace_slots() else {
            return 0;
        };
        let running = self.sessions.running();
        let mut room: BTreeMap<WorkspaceId, u64> = BTreeMap::new();
        let beyond = waiting.iter().filter(|(workspace, ..)| {
            let room = room.entry(*workspace).or_insert_with(|| {
                let held = running.iter().filter(|(of, _)| of == workspace).count() as u64;
                u64::from(slots).saturating_sub(held)
            });
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            !fits
        });
        beyond.count() as u64
    }

    fn counted(&self, worker: &PoolWorker) -> PoolWorker {
        PoolWorker {
            held: self.sessions.held_by(Some(worker.owner)),
            ..worker.clone()
        }
    }
}

/// Milliseconds between two times.
fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.micros() - from.micros()).unwrap_or(0) / 1000
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
            self.sessions.stands(owner, standing == Standing::Active);
            self.counted(worker)
        }))
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let now = self.clock.now();
        let waiting = self.sessions.waiting();
        let oldest = waiting.iter().map(|(.., at)| *at).min();
        let known = self.known();
        let active = known
            .values()
            .filter(|worker| worker.standing == Standing::Active && heard(worker, now, WORKER_GONE_MILLIS));
        let slots: Vec<u64> = active.map(|worker| worker.card.slots.into()).collect();
        Ok(Backlog {
            ready: waiting.len() as u64,
            over: self.over(&waiting),
            held: self.sessions.held_by(None),
            oldest_millis: oldest.map_or(0, |at| millis(at, now)),
            workers: slots.len() as u64,
            slots: slots.iter().sum(),
        })
    }

    async fn demand(&self) -> Result<Vec<Demand>, StoreError> {
        let now = self.clock.now();
        let mut demand: BTreeMap<String, Demand> = BTreeMap::new();
        for (_, harness, at) in self.sessions.waiting() {
            let wanted = demand.entry(harness).or_default();
            wanted.ready += 1;
            wanted.oldest_millis = wanted.oldest_millis.max(millis(at, now));
        }
        for (_, harness) in self.sessions.running() {
            demand.entry(harness).or_default().held += 1;
        }
        let named = demand.into_iter().map(|(harness, wanted)| Demand { harness, ..wanted });
        Ok(named.collect())
    }
}
