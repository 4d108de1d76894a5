//! The pool: which workers there are, what each can do and whether it should go on; and how much there is to do for them.
//!
//! Beside [`super::Leases`], which alone decides who may write: what stands here is for those who run the servers, and a pool that
//! cannot be asked stops no session.

use async_trait::async_trait;
use perennial_schema::{OwnerId, Timestamp};

use super::StoreError;

/// A worker that was not heard of for so long is gone, in milliseconds.
pub const WORKER_GONE_MILLIS: u64 = 45_000;

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCard {
    /// The host and the process on it, for people.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Sessions at once.
    pub slots: u32,
    /// Harnesses it has, as agents name them.
    pub harnesses: Vec<String>,
}

/// What whoever runs the servers wants of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Claims sessions.
    #[default]
    Active,
    /// Claims none; keeps those it drives until they rest.
    Cordoned,
    /// Claims none and gives back those it drives.
    Draining,
}

/// A worker as the pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolWorker {
    /// What it claims as.
    pub owner: OwnerId,
    /// What it says of itself.
    pub card: WorkerCard,
    /// What is wanted of it.
    pub standing: Standing,
    /// Sessions it holds.
    pub held: u64,
    /// Since when it is known.
    pub joined_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
}

/// How much there is to do, and for how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sessions that are ready and held by nobody.
    pub ready: u64,
    /// Those among them that no worker could take: their workspaces have all the slots they get.
    pub over: u64,
    /// Sessions that are held.
    pub held: u64,
    /// Milliseconds that the longest of the ready ones has waited.
    pub oldest_millis: u64,
    /// Active workers.
    pub workers: u64,
    /// Their slots.
    pub slots: u64,
}

impl Backlog {
    /// Sessions that want a slot now.
    #[must_use]
    pub const fn wanted_slots(&self) -> u64 {
        self.ready.saturating_sub(self.over) + self.held
    }

    /// Workers that would have a slot for each of them, if they are like those that are there; none without any to go by.
    #[must_use]
    pub const fn wanted_workers(&self) -> Option<u64> {
        if self.wanted_slots() == 0 {
            return Some(0);
        }
        if self.workers == 0 || self.slots == 0 {
            return None;
        }
        let each = self.slots.div_ceil(self.workers);
        Some(self.wanted_slots().div_ceil(each))
    }
}

/// How much there is to do for workers with one harness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// As agents name it.
    pub harness: String,
    /// Sessions that want it, are ready and held by nobody.
    pub ready: u64,
    /// Sessions that want it and are held.
    pub held: u64,
    /// Milliseconds that the longest of the ready ones has waited.
    pub oldest_millis: u64,
}

/// Workers of all tenants: they belong to whoever runs the servers.
#[async_trait]
pub trait Pool: Send + Sync {
    /// Says that a worker is here, and hears what is wanted of it. Said again and again; the first time it joins as active.
    async fn attend(&self, owner: OwnerId, card: &WorkerCard) -> Result<Standing, StoreError>;

    /// The worker ends. One that does not say so is gone after [`WORKER_GONE_MILLIS`].
    async fn leave(&self, owner: OwnerId) -> Result<(), StoreError>;

    /// Those that were heard of lately, longest here first.
    async fn workers(&self) -> Result<Vec<PoolWorker>, StoreError>;

    /// Wants something of a worker; it hears of it when it attends next. `None`: there is no such worker.
    async fn steer(&self, owner: OwnerId, standing: Standing) -> Result<Option<PoolWorker>, StoreError>;

    /// How much there is to do.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// The same by harness, by name; those nobody wants anything of are left out.
    async fn demand(&self) -> Result<Vec<Demand>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_as_large_as_what_wants_a_slot() {
        let pool = |ready, held, workers, slots| Backlog {
            ready,
            over: 0,
            held,
            oldest_millis: 0,
            workers,
            slots,
        };
        assert_eq!(pool(0, 0, 0, 0).wanted_workers(), Some(0));
        assert_eq!(pool(0, 0, 3, 24).wanted_workers(), Some(0));
        assert_eq!(pool(1, 0, 1, 8).wanted_workers(), Some(1));
        assert_eq!(pool(9, 8, 1, 8).wanted_workers(), Some(3));
        assert_eq!(pool(9, 0, 2, 6).wanted_workers(), Some(3));
        // What no worker could take wants none.
        let over = Backlog {
            over: 8,
            ..pool(9, 8, 1, 8)
        };
        assert_eq!((over.wanted_slots(), over.wanted_workers()), (9, Some(2)));
        // Nobody says how much one can do.
        assert_eq!(pool(9, 0, 0, 0).wanted_workers(), None);
    }
}
