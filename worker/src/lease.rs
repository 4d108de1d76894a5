//! The owner's lease: one row, renewed on a timer whatever the sessions do. Each renewal also reads the heads of the held
//! sessions, so an interrupt is seen even with the bus down; a lease that is lost, or that could not be renewed for two
//! thirds of its time to live, ends the sessions' work at once (I3).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perennial_engine::ports::{Held, Leases, Reach, Ready, RenewError, SessionKey};
use perennial_schema::OwnerId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// A held session as its driver sees it.
#[derive(Clone)]
pub(crate) struct Watch {
    /// Newest head a renewal saw.
    pub(crate) head: watch::Receiver<u64>,
    /// Cancelled when the lease is lost: drop everything, append nothing.
    pub(crate) lost: CancellationToken,
    /// Cancelled by the driver when the session has made progress.
    pub(crate) progress: CancellationToken,
}

struct Entry {
    epoch: u64,
    head: watch::Sender<u64>,
    lost: CancellationToken,
}

/// All sessions an owner holds.
pub(crate) struct Lease {
    owner: OwnerId,
    reach: Reach,
    leases: Arc<dyn Leases>,
    ttl: Duration,
    held: Mutex<BTreeMap<SessionKey, Entry>>,
    /// Rows of ours that nobody here drives, as of the last renewal.
    strays: Mutex<BTreeMap<SessionKey, u64>>,
}

impl Lease {
    pub(crate) fn new(owner: OwnerId, reach: Reach, leases: Arc<dyn Leases>, ttl: Duration) -> Self {
        Self {
            owner,
            reach,
            leases,
            ttl,
            held: Mutex::default(),
            strays: Mutex::default(),
        }
    }

    /// Starts watching a session that was just claimed.
    pub(crate) fn hold(&self, key: SessionKey, epoch: u64, head: u64) -> Watch {
        let (head, receiver) = watch::channel(head);
        let lost = CancellationToken::new();
        self.entries().insert(
            key,
            Entry {
                epoch,
                head,
                lost: lost.clone(),
            },
        );
        Watch {
            head: receiver,
            lost,
            progress: CancellationToken::new(),
        }
    }

    /// Stops watching it, unless it was claimed anew meanwhile.
    pub(crate) fn let_go(&self, key: SessionKey, epoch: u64) {
        let mut held = self.entries();
        if held.get(&key).is_some_and(|entry| entry.epoch == epoch) {
            held.remove(&key);
        }
    }

    /// Renews until told to stop.
    pub(crate) async fn keep(&self, every: Duration, stop: CancellationToken) {
        let ttl_millis = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut renewed = Instant::now();
        let mut timer = tokio::time::interval(every);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = timer.tick() => {}
            }
            // The clock starts before the request: a slow answer must not lengthen our belief.
            let asked = Instant::now();
            let patience = (self.ttl * 2 / 3).saturating_sub(renewed.elapsed());
            match tokio::time::timeout(patience, self.leases.renew(self.owner, ttl_millis)).await {
                Ok(Ok(heads)) => {
                    renewed = asked;
                    self.compare(&heads);
                    self.free_strays(&heads).await;
                }
                Ok(Err(RenewError::Expired)) => {
                    error!(owner = %self.owner, "the lease expired; dropping all sessions");
                    self.evict_all();
                    renewed = self.register_again(ttl_millis).await.unwrap_or(renewed);
                }
                Ok(Err(RenewError::Store(error))) => warn!(owner = %self.owner, %error, "could not renew the lease"),
                Err(_) => warn!(owner = %self.owner, "renewing the lease takes too long"),
            }
            if renewed.elapsed() >= self.ttl * 2 / 3 {
                self.evict_all();
                renewed = self.register_again(ttl_millis).await.unwrap_or(renewed);
            }
        }
    }

    async fn register_again(&self, ttl_millis: u64) -> Option<Instant> {
        let asked = Instant::now();
        self.leases
            .register(self.owner, ttl_millis, &self.reach)
            .await
            .ok()
            .map(|()| asked)
    }

    fn compare(&self, heads: &[Held]) {
        let mut held = self.entries();
        let rows: BTreeMap<SessionKey, &Held> = heads.iter().map(|row| (row.key, row)).collect();
        held.retain(|key, entry| match rows.get(key) {
            Some(row) if row.epoch == entry.epoch => {
                entry
                    .head
                    .send_if_modified(|head| row.head > std::mem::replace(head, row.head.max(*head)));
                true
            }
            // Another epoch, or a row that was read just before our claim or just after our release: only the first means
            // the lease is lost. A release removes the entry itself.
            Some(row) if row.epoch > entry.epoch => {
                entry.lost.cancel();
                false
            }
            _ => true,
        });
    }

    /// A session that is leased to us but driven by nobody would wait for ever: our renewals keep its lease alive. Seen in
    /// two renewals running, it is given back (I10).
    async fn free_strays(&self, heads: &[Held]) {
        let strays: BTreeMap<SessionKey, u64> = {
            let held = self.entries();
            heads
                .iter()
                .filter(|row| !held.contains_key(&row.key))
                .map(|row| (row.key, row.epoch))
                .collect()
        };
        let earlier = std::mem::replace(
            &mut *self.strays.lock().unwrap_or_else(PoisonError::into_inner),
            strays.clone(),
        );
        for row in heads
            .iter()
            .filter(|row| strays.contains_key(&row.key) && earlier.get(&row.key) == Some(&row.epoch))
        {
            warn!(session.id = %row.key.session, lease.epoch = row.epoch, "giving back a session that nobody drives");
            if let Err(error) = self.leases.release(row.key, row.epoch, Ready::Now, row.head).await {
                warn!(session.id = %row.key.session, %error, "could not give it back; trying again");
            }
        }
    }

    fn evict_all(&self) {
        let entries = std::mem::take(&mut *self.entries());
        for entry in entries.into_values() {
            entry.lost.cancel();
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionKey, Entry>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
