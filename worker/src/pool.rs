//! The claim loop of one worker process: wakes by hint, sweeps by timer, drives as many sessions as it has slots.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use perennial_engine::kernel::State;
use perennial_engine::ports::{Claimed, SessionKey, WakeUps};
use perennial_schema::{ExecutorId, OwnerId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::lease::Lease;
use crate::limits;
use crate::ports::Ports;
use crate::session::{Ended, Session};

/// How a worker behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Sessions at once.
    pub slots: u32,
    /// Time to live of the owner's lease.
    pub ttl: Duration,
    /// Time between renewals.
    pub renew: Duration,
    /// Time between sweeps for ready sessions that no hint announced.
    pub sweep: Duration,
    /// The executor whose workspaces this process reaches.
    pub place: Option<ExecutorId>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: limits::SLOTS,
            ttl: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            sweep: Duration::from_secs(2),
            place: None,
        }
    }
}

/// One worker process.
pub struct Worker {
    ports: Ports,
    settings: Settings,
    owner: OwnerId,
}

impl Worker {
    /// A worker over these ports.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let owner = OwnerId::from_uuid(ports.ids.uuid());
        Self { ports, settings, owner }
    }

    /// What it claims as: random, and never used again.
    #[must_use]
    pub const fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Works until `drain` is cancelled, then lets go of every session: model streams are dropped as superseded, calls stay
    /// running on their executors, leases are released.
    pub async fn run(self, drain: CancellationToken) {
        let owner = self.owner;
        let ttl_millis = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        let lease = Arc::new(Lease::new(
            owner,
            self.settings.place,
            self.ports.leases.clone(),
            self.settings.ttl,
        ));
        self.register(owner, ttl_millis, &drain).await;
        let stop = CancellationToken::new();
        let keeper = {
            let (lease, every, stop) = (lease.clone(), self.settings.renew, stop.clone());
            tokio::spawn(async move { lease.keep(every, stop).await })
        };
        let mut pool = Pool {
            owner,
            lease,
            drain,
            worker: &self,
            driving: JoinSet::new(),
            warm: Warm::default(),
        };
        pool.work().await;
        pool.wind_down().await;
        stop.cancel();
        if keeper.await.is_err() {
            warn!(%owner, "the lease keeper did not end cleanly");
        }
        if let Err(error) = self.ports.leases.unregister(owner).await {
            warn!(%owner, %error, "could not give the lease back; it will expire");
        }
    }

    async fn register(&self, owner: OwnerId, ttl_millis: u64, drain: &CancellationToken) {
        while let Err(error) = self.ports.leases.register(owner, ttl_millis, self.settings.place).await {
            warn!(%owner, %error, "could not register; trying again");
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = tokio::time::sleep(self.settings.renew) => {}
            }
        }
    }
}

struct Pool<'a> {
    owner: OwnerId,
    lease: Arc<Lease>,
    drain: CancellationToken,
    worker: &'a Worker,
    driving: JoinSet<Ended>,
    warm: Warm,
}

impl Pool<'_> {
    async fn work(&mut self) {
        // Held only while there is room: a wake-up that goes to a full worker is lost to those with free slots.
        let mut wake_ups = Some(self.worker.ports.bus.wake_ups());
        let mut sweep = tokio::time::interval(self.worker.settings.sweep);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return,
                () = woken(&mut wake_ups) => {}
                _ = sweep.tick() => {}
                Some(ended) = self.driving.join_next() => self.ended(ended),
            }
            // Several may have ended; take them all before asking for more.
            while let Some(ended) = self.driving.try_join_next() {
                self.ended(ended);
            }
            if self.free() > 0 && wake_ups.is_none() {
                wake_ups = Some(self.worker.ports.bus.wake_ups());
            }
            self.claim().await;
            if self.free() == 0 {
                wake_ups = None;
            }
        }
    }

    fn free(&self) -> u32 {
        let driving = u32::try_from(self.driving.len()).unwrap_or(u32::MAX);
        self.worker.settings.slots.saturating_sub(driving)
    }

    async fn claim(&mut self) {
        loop {
            let free = self.free();
            if free == 0 || self.drain.is_cancelled() {
                return;
            }
            fail::fail_point!("worker.claim.before");
            match self.worker.ports.leases.claim(self.owner, free).await {
                Ok(claimed) if claimed.is_empty() => return,
                Ok(claimed) => {
                    fail::fail_point!("worker.claim.after");
                    let all = claimed.len() < free as usize;
                    for session in claimed {
                        self.drive(session);
                    }
                    if all {
                        return;
                    }
                }
                Err(error) => {
                    warn!(owner = %self.owner, %error, "could not claim");
                    return;
                }
            }
        }
    }

    fn drive(&mut self, claimed: Claimed) {
        let row = claimed.row;
        let watch = self.lease.hold(row.key, row.epoch, row.head);
        let state = self.warm.take(row.key);
        let span = info_span!("worker.session.drive", session.id = %row.key.session, lease.epoch = row.epoch);
        let session = Session::new(self.worker.ports.clone(), row, watch, self.drain.clone(), state);
        self.driving.spawn(session.run().instrument(span));
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(ended) => {
                self.lease.let_go(ended.key, ended.epoch);
                if let Some(state) = ended.state {
                    self.warm.put(ended.key, state);
                }
            }
            // A panic is a bug of ours; the lease expires and the attempt counts.
            Err(error) => warn!(owner = %self.owner, %error, "a session's driver ended abnormally"),
        }
    }

    async fn wind_down(&mut self) {
        info!(owner = %self.owner, sessions = self.driving.len(), "draining");
        let all = async {
            while let Some(ended) = self.driving.join_next().await {
                if let Ok(ended) = ended {
                    self.lease.let_go(ended.key, ended.epoch);
                }
            }
        };
        if tokio::time::timeout(limits::DRAIN, all).await.is_err() {
            warn!(owner = %self.owner, "some sessions did not let go in time; their leases will expire");
        }
    }
}

async fn woken(wake_ups: &mut Option<Box<dyn WakeUps>>) {
    match wake_ups {
        Some(wake_ups) => wake_ups.next().await,
        None => std::future::pending().await,
    }
}

/// Folded sessions at rest, oldest out first. A state is the fold of a prefix of an immutable log, so it can never be wrong,
/// only short: the next claim reads the tail.
#[derive(Default)]
struct Warm {
    states: HashMap<SessionKey, State>,
    order: VecDeque<SessionKey>,
}

impl Warm {
    fn take(&mut self, key: SessionKey) -> Option<State> {
        let state = self.states.remove(&key)?;
        self.order.retain(|kept| *kept != key);
        Some(state)
    }

    fn put(&mut self, key: SessionKey, state: State) {
        if self.states.insert(key, state).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > limits::WARM_SESSIONS {
            if let Some(oldest) = self.order.pop_front() {
                self.states.remove(&oldest);
            }
        }
    }
}
