//! What every part of the store shares: where the database is, whose clock counts, and what was seen of its health.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;

use super::clock::Time;
use crate::limits;

/// Shared by writers, pools and the watch.
pub(super) struct Site {
    pub(super) options: PgConnectOptions,
    pub(super) time: Time,
    /// How many sessions a workspace gets at once.
    pub(super) workspace_slots: Option<u32>,
    /// Held while it is being noted whom a claim served.
    pub(super) serving: Arc<tokio::sync::Mutex<()>>,
    resolved: AtomicU64,
    ttl_millis: AtomicU64,
    failed: Mutex<Option<Instant>>,
    pruned: Mutex<Instant>,
}

impl Site {
    pub(super) fn new(options: PgConnectOptions, time: Time) -> Self {
        Self {
            options,
            time,
            workspace_slots: None,
            serving: Arc::default(),
            resolved: AtomicU64::new(0),
            ttl_millis: AtomicU64::new(15_000),
            failed: Mutex::new(None),
            pruned: Mutex::new(Instant::now()),
        }
    }

    /// A connection of ours broke: what we believe about others' death is worth nothing for one time to live.
    pub(super) fn failed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes the time to live that owners of this process have.
    pub(super) fn lives(&self, ttl_millis: u64) {
        self.ttl_millis.store(ttl_millis, Ordering::Relaxed);
    }

    /// Whether this process may call others dead.
    pub(super) fn may_judge(&self) -> bool {
        let ttl = Duration::from_millis(self.ttl_millis.load(Ordering::Relaxed));
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|at| at.elapsed() > ttl)
    }

    /// Whether it is time to forget old keys; true once in a while.
    pub(super) fn may_prune(&self) -> bool {
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = pruned.elapsed() > Duration::from_millis(limits::PRUNE_EVERY_MILLIS);
        if due {
            *pruned = Instant::now();
        }
        due
    }

    /// An ambiguous commit was found to have happened.
    pub(super) fn resolved(&self) {
        self.resolved.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("perennial_log_ambiguous_commits_resolved_total").increment(1);
        tracing::info!("an ambiguous commit was resolved: it had happened");
    }

    /// How many ambiguous commits were found to have happened.
    pub(super) fn resolved_ambiguous(&self) -> u64 {
        self.resolved.load(Ordering::Relaxed)
    }
}
