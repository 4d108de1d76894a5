//! The claim loop of one worker process: wakes by hint, sweeps by timer, drives as many sessions as it has slots.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use perennial_engine::kernel::State;
use perennial_engine::ports::{Claimed, Reach, Ready, SessionKey, SessionRow, Standing, WakeUps, WorkerCard};
use perennial_engine::retry;
use perennial_schema::{ExecutorId, OwnerId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::attend::Attendance;
use crate::lease::{Lease, Watch};
use crate::ports::Ports;
use crate::session::{Ended, Session, beyond};
use crate::yielded::Yielded;
use crate::{limits, metrics};

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host and the process on it, for people.
    pub name: String,
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
    /// It is the only worker its store can have: it claims what it has no harness for too, and says so in the turn.
    pub sole: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: format!("process {}", std::process::id()),
            slots: limits::SLOTS,
            ttl: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            sweep: Duration::from_secs(2),
            place: None,
            sole: true,
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
        let reach = Reach {
            place: self.settings.place,
            harnesses: (!self.settings.sole).then(|| self.ports.harnesses.names()),
        };
        self.register(owner, ttl_millis, &reach, &drain).await;
        let lease = Arc::new(Lease::new(owner, reach, self.ports.leases.clone(), self.settings.ttl));
        metrics::slots(self.settings.slots);
        let stop = CancellationToken::new();
        let keeper = {
            let (lease, every, stop) = (lease.clone(), self.settings.renew, stop.clone());
            tokio::spawn(async move { lease.keep(every, stop).await })
        };
        let (attendance, standing) = Attendance::new(self.ports.pool.clone(), owner, self.card());
        let attending = {
            let (every, stop) = (self.settings.renew, stop.clone());
            tokio::spawn(async move { attendance.keep(every, stop).await })
        };
        let mut pool = Pool {
            owner,
            lease,
            letting_go: drain.child_token(),
            drain,
            standing,
            worker: &self,
            driving: JoinSet::new(),
            warm: Warm::default(),
            alone: Alone::default(),
            yielded: Arc::new(self.yielded()),
        };
        pool.work().await;
        pool.wind_down().await;
        self.ports.harnesses.close().await;
        stop.cancel();
        for task in [keeper, attending] {
            if task.await.is_err() {
                warn!(%owner, "a keeper of the worker did not end cleanly");
            }
        }
        if let Err(error) = self.ports.leases.unregister(owner).await {
            warn!(%owner, %error, "could not give the lease back; it will expire");
        }
    }

    fn card(&self) -> WorkerCard {
        WorkerCard {
            name: self.settings.name.clone(),
            version: beyond::version().to_owned(),
            slots: self.settings.slots,
            harnesses: self.ports.harnesses.names(),
        }
    }

    fn yielded(&self) -> Yielded {
        match self.settings.sole {
            true => Yielded::to_nobody(),
            false => Yielded::new(self.settings.ttl * limits::YIELD_TTLS),
        }
    }

    async fn register(&self, owner: OwnerId, ttl_millis: u64, reach: &Reach, drain: &CancellationToken) {
        while let Err(error) = self.ports.leases.register(owner, ttl_millis, reach).await {
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
    /// What is wanted of it.
    standing: watch::Receiver<Standing>,
    /// Cancelled when the sessions driven now are to be given back; another one when sessions are claimed again.
    letting_go: CancellationToken,
    worker: &'a Worker,
    driving: JoinSet<Ended>,
    warm: Warm,
    alone: Alone,
    /// What newer versions are to drive.
    yielded: Arc<Yielded>,
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
                () = self.alone.proven() => self.alone.driving = None,
                Ok(()) = self.standing.changed() => self.stand(),
            }
            // Several may have ended; take them all before asking for more.
            while let Some(ended) = self.driving.try_join_next() {
                self.ended(ended);
            }
            if self.free() > 0 && wake_ups.is_none() {
                wake_ups = Some(self.worker.ports.bus.wake_ups());
            }
            self.claim().await;
            self.drive_alone();
            if self.free() == 0 {
                wake_ups = None;
            }
        }
    }

    /// Does what is wanted of it from now on.
    fn stand(&mut self) {
        let standing = *self.standing.borrow_and_update();
        info!(owner = %self.owner, ?standing, sessions = self.driving.len(), "told how to go on");
        match standing {
            Standing::Draining => self.letting_go.cancel(),
            Standing::Active if self.letting_go.is_cancelled() => self.letting_go = self.drain.child_token(),
            Standing::Active | Standing::Cordoned => {}
        }
    }

    fn free(&self) -> u32 {
        if self.alone.has_the_house() || *self.standing.borrow() != Standing::Active || self.yielded.is_full() {
            return 0;
        }
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
            let pass_by = self.yielded.passed_by();
            match self.worker.ports.leases.claim(self.owner, free, &pass_by).await {
                Ok(claimed) if claimed.is_empty() => return,
                Ok(claimed) => {
                    fail::fail_point!("worker.claim.after");
                    let all = claimed.len() < free as usize;
                    self.take(claimed).await;
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

    async fn take(&mut self, claimed: Vec<Claimed>) {
        metrics::count_claims(&claimed);
        let (suspects, healthy): (Vec<_>, Vec<_>) = claimed
            .into_iter()
            .map(|claimed| claimed.row)
            .partition(|row| Alone::concerns(row.attempts));
        for row in healthy {
            let watch = self.lease.hold(row.key, row.epoch, row.head);
            self.drive(row, watch);
        }
        for row in suspects {
            if self.alone.admits(self.driving.is_empty()) {
                let watch = self.lease.hold(row.key, row.epoch, row.head);
                self.alone.next = Some((row, watch));
            } else {
                // From a time of the log's clock: ours may be an hour wrong. What waited long is put off again until it is ahead.
                let ready = row.ready_at.unwrap_or(row.updated_at);
                let again = ready.plus_millis(limits::ALONE_PAUSE_MILLIS);
                self.put_back(&row, Ready::At(again)).await;
            }
        }
    }

    /// Drives the session that must be alone once it is.
    fn drive_alone(&mut self) {
        if self.driving.is_empty()
            && let Some((row, watch)) = self.alone.begin()
        {
            self.drive(row, watch);
        }
    }

    /// Not driven after all; counts no attempt.
    async fn put_back(&self, row: &SessionRow, ready: Ready) {
        let leases = &self.worker.ports.leases;
        if let Err(error) = leases.release(row.key, row.epoch, ready, row.head).await {
            warn!(session.id = %row.key.session, %error, "could not give a session back; a renewal will");
        }
    }

    fn drive(&mut self, row: SessionRow, watch: Watch) {
        let state = self.warm.take(row.key);
        let span = info_span!("worker.session.drive", session.id = %row.key.session, lease.epoch = row.epoch);
        let session = Session::new(
            self.worker.ports.clone(),
            row,
            watch,
            self.letting_go.clone(),
            state,
            self.yielded.clone(),
        );
        self.driving.spawn(session.run().instrument(span));
        metrics::driving(self.driving.len());
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
        if self.driving.is_empty() {
            self.alone.driving = None;
            self.alone.put_off = None;
        }
        metrics::driving(self.driving.len());
    }

    async fn wind_down(&mut self) {
        info!(owner = %self.owner, sessions = self.driving.len(), "draining");
        if let Some((row, _)) = self.alone.next.take() {
            self.lease.let_go(row.key, row.epoch);
            self.put_back(&row, Ready::Now).await;
        }
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

/// Sessions whose attempts ended in process death again and again are driven while nothing else is here: if they take the
/// process down once more, they take nobody with them (I15).
#[derive(Default)]
struct Alone {
    /// Claimed, and waits for the others to end; nothing else is claimed meanwhile.
    next: Option<(SessionRow, Watch)>,
    /// What is driven now is such a session, and has made no progress yet.
    driving: Option<CancellationToken>,
    /// Since when one has been put off because others were here.
    put_off: Option<Instant>,
}

impl Alone {
    /// A session that is about to be quarantined is not folded, so it can do no harm.
    const fn concerns(attempts: u32) -> bool {
        attempts >= retry::ALONE_AFTER && attempts < retry::QUARANTINE_AFTER
    }

    const fn has_the_house(&self) -> bool {
        self.driving.is_some() || self.next.is_some()
    }

    /// Whether one may be next: an empty worker takes it at once, a busy one leaves it to others for a while before it stops
    /// claiming for its sake.
    fn admits(&mut self, empty: bool) -> bool {
        if self.has_the_house() {
            return false;
        }
        let since = *self.put_off.get_or_insert_with(Instant::now);
        empty || since.elapsed() >= limits::ALONE_PATIENCE
    }

    fn begin(&mut self) -> Option<(SessionRow, Watch)> {
        let next = self.next.take()?;
        self.driving = Some(next.1.progress.clone());
        self.put_off = None;
        Some(next)
    }

    /// When the session that has the house to itself has got further than where it used to die: others may come in.
    async fn proven(&self) {
        match &self.driving {
            Some(progress) => progress.cancelled().await,
            None => std::future::pending().await,
        }
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
