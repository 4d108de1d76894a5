//! The seeded world: one clock, one source of chance, one place where every port call asks what happens to it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perennial_broker::bus::local::Local;
use perennial_broker::log::memory::Memory;
use perennial_engine::ports::{Clock, Ids, SessionKey};
use perennial_proof::oracle::StaleWrite;
use perennial_schema::{AppendId, Timestamp};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::plan::{Fault, Op, Plan, mix};

/// What a lease lives, and how often it is renewed and swept for.
pub(crate) const TTL: u64 = 1_000;
pub(crate) const RENEW: u64 = 300;
pub(crate) const SWEEP: u64 = 200;

/// A mechanism that is taken away, to see that its absence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    NoFence,
    NoJournal,
    NoNewJournal,
    NoConditionalRelease,
    NoDedupe,
}

/// Everything the nodes of a run share.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) sabotage: Sabotage,
    pub(crate) store: Memory,
    pub(crate) wall: Arc<Wall>,
    /// The bus loses everything.
    pub(crate) silent: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    decisions: u64,
    ids: u64,
    trace: DefaultHasher,
    fired: Vec<(u64, Fault)>,
    counts: BTreeMap<&'static str, u64>,
    healed: bool,
    buses: BTreeMap<usize, Local>,
    facts: BTreeMap<SessionKey, Facts>,
    doubts: BTreeMap<AppendId, bool>,
    /// The session whose holders die, and how often they still do.
    poison: Option<(SessionKey, u32)>,
}

/// What is known of a session beside its log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Which epoch wrote which event.
    pub(crate) epochs: BTreeMap<u64, u64>,
    pub(crate) stale: Vec<StaleWrite>,
}

impl World {
    pub(crate) fn new(plan: Plan, sabotage: Sabotage) -> Arc<Self> {
        let wall = Arc::new(Wall::default());
        Arc::new(Self {
            silent: mix(plan.seed, 0, 6).is_multiple_of(8),
            plan,
            sabotage,
            store: Memory::new(Arc::<Wall>::clone(&wall)),
            wall,
            inner: Mutex::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a decision: its number and its fault.
    pub(crate) fn decide(&self, node: usize, op: Op) -> (u64, Option<Fault>) {
        let mut inner = self.inner();
        let decision = inner.decisions;
        inner.decisions += 1;
        let fired = inner.fired.len();
        let fault = if inner.healed {
            None
        } else {
            self.plan.fault(decision, op, fired)
        };
        let now = self.wall.elapsed();
        (decision, node, op, fault, now).hash(&mut inner.trace);
        if let Some(fault) = fault {
            inner.fired.push((decision, fault));
            *inner.counts.entry(name(fault)).or_default() += 1;
        }
        (decision, fault)
    }

    /// A decision without a fault, for a draw.
    pub(crate) fn chance(&self) -> u64 {
        let mut inner = self.inner();
        inner.decisions += 1;
        inner.decisions - 1
    }

    /// A number that only this decision draws.
    pub(crate) fn roll(&self, decision: u64, purpose: u64) -> u64 {
        mix(self.plan.seed, decision, 100 + purpose)
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.inner().counts.entry(what).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner().counts.clone()
    }

    pub(crate) fn fired(&self) -> Vec<(u64, Fault)> {
        self.inner().fired.clone()
    }

    pub(crate) fn trace(&self, what: &impl Hash) {
        what.hash(&mut self.inner().trace);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.inner().trace.finish()
    }

    /// No fault from here on, and what was broken is whole again.
    pub(crate) fn heal(&self) {
        let mut inner = self.inner();
        inner.healed = true;
        inner.poison = None;
        drop(inner);
        self.wall.leap.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.inner().healed
    }

    pub(crate) fn facts(&self, key: SessionKey) -> Facts {
        self.inner().facts.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn learn(&self, key: SessionKey, learn: impl FnOnce(&mut Facts)) {
        learn(self.inner().facts.entry(key).or_default());
    }

    /// Remembers an append whose outcome nobody was told; true when it happened.
    pub(crate) fn doubt(&self, id: AppendId, happened: bool) {
        self.inner().doubts.insert(id, happened);
    }

    pub(crate) fn resolve(&self, id: AppendId) {
        let resolved = self.inner().doubts.remove(&id);
        match resolved {
            Some(true) => self.count("ambiguous commit found"),
            Some(false) => self.count("ambiguous commit made again"),
            None => {}
        }
    }

    pub(crate) fn poison(&self, key: SessionKey, deaths: u32) {
        self.inner().poison = Some((key, deaths));
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.inner().poison.is_some_and(|(_, left)| left > 0)
    }

    /// Whether the holder of this session dies now.
    pub(crate) fn kills(&self, key: SessionKey) -> bool {
        match &mut self.inner().poison {
            Some((poisoned, left)) if *poisoned == key && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn join_bus(&self, node: usize, bus: &Local) {
        self.inner().buses.insert(node, bus.clone());
    }

    /// Everybody's bus, nodes in order.
    pub(crate) fn buses(&self) -> Vec<(usize, Local)> {
        let inner = self.inner();
        inner.buses.iter().map(|(node, bus)| (*node, bus.clone())).collect()
    }
}

/// The name a fault is counted under.
fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::CrashBefore => "fault: crash before",
        Fault::CrashAfter => "fault: crash after",
        Fault::Refused => "fault: store unavailable",
        Fault::AppliedUnknown => "fault: commit unknown, applied",
        Fault::LostUnknown => "fault: commit unknown, lost",
        Fault::Slow(_) => "fault: slow request",
        Fault::SlowAnswer(_) => "fault: slow answer",
        Fault::Frozen(_) => "fault: frozen",
        Fault::ClockLeaps => "fault: store clock leaps",
        Fault::Drained => "fault: drained",
        Fault::Dropped => "fault: message dropped",
        Fault::Doubled => "fault: message doubled",
        Fault::Late(_) => "fault: message late",
        Fault::HandsCrash => "fault: executor crash",
        Fault::HandsRebuilt => "fault: executor rebuilt",
        Fault::LinkCut => "fault: executor link cut",
        Fault::StreamCut => "fault: stream cut",
    }
}

/// Ids in order of asking.
impl Ids for World {
    fn uuid(&self) -> Uuid {
        let mut inner = self.inner();
        inner.ids += 1;
        let (n, chance) = (inner.ids, mix(self.plan.seed, inner.ids, 7));
        Uuid::from_u128(u128::from(n) << 64 | u128::from(chance))
    }
}

/// The store's clock: the run's own time, and leaps.
#[derive(Debug)]
pub(crate) struct Wall {
    start: Instant,
    leap: AtomicI64,
}

impl Default for Wall {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            leap: AtomicI64::new(0),
        }
    }
}

impl Wall {
    pub(crate) fn elapsed(&self) -> u128 {
        self.start.elapsed().as_micros()
    }

    pub(crate) fn leap(&self, millis: i64) {
        self.leap.fetch_add(millis * 1_000, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.elapsed()).unwrap_or(i64::MAX);
        Timestamp::from_micros(1_750_000_000_000_000 + since + self.leap.load(Ordering::Relaxed))
    }
}

/// A node's own clock, wrong by a constant.
pub(crate) struct Watch {
    pub(crate) world: Arc<World>,
    pub(crate) skew: i64,
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.world.wall.now().micros() + self.skew * 1_000)
    }
}

/// One life of a node's process.
pub(crate) struct Life {
    pub(crate) node: usize,
    pub(crate) drain: CancellationToken,
    dead: AtomicBool,
    thaws: Mutex<Option<Instant>>,
    root: Mutex<Option<AbortHandle>>,
    /// Told when it dies.
    pub(crate) died: CancellationToken,
}

impl Life {
    pub(crate) fn new(node: usize) -> Arc<Self> {
        Arc::new(Self {
            node,
            drain: CancellationToken::new(),
            dead: AtomicBool::new(false),
            thaws: Mutex::default(),
            root: Mutex::default(),
            died: CancellationToken::new(),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn lives_in(&self, root: AbortHandle) {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(root);
    }

    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.cancel();
        if let Some(root) = self.root.lock().unwrap_or_else(PoisonError::into_inner).take() {
            root.abort();
        }
    }

    fn freeze(&self, millis: u64) {
        *self.thaws.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + Duration::from_millis(millis));
    }

    fn is_frozen(&self) -> bool {
        let thaws = *self.thaws.lock().unwrap_or_else(PoisonError::into_inner);
        thaws.is_some_and(|thaws| thaws > Instant::now())
    }

    /// Waits while the node is frozen; for ever when it is dead.
    async fn awake(&self, world: &World) {
        while self.is_frozen() && !world.is_healed() {
            sleep(50).await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

/// A node's way to everything outside it.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
}

/// The store refuses; nothing happened.
pub(crate) struct Refused;

impl Gate {
    /// Before a port call: what happens to it comes back as far as it concerns the call itself or its answer.
    pub(crate) async fn enter(&self, op: Op) -> Result<Option<Fault>, Refused> {
        self.life.awake(&self.world).await;
        let (decision, fault) = self.world.decide(self.life.node, op);
        match self.world.roll(decision, 0) % 8 {
            0 => sleep(1 + self.world.roll(decision, 1) % 5).await,
            1 => tokio::task::yield_now().await,
            _ => {}
        }
        match fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::Refused) => return Err(Refused),
            Some(Fault::Slow(millis)) => sleep(millis).await,
            Some(Fault::Frozen(millis)) => self.life.freeze(millis),
            Some(Fault::Drained) => self.life.drain.cancel(),
            Some(Fault::ClockLeaps) => self.world.wall.leap(i64::try_from(TTL).unwrap_or(0) + 1),
            _ => {}
        }
        self.life.awake(&self.world).await;
        Ok(fault)
    }

    /// After it.
    pub(crate) async fn leave(&self, fault: Option<Fault>) {
        match fault {
            Some(Fault::CrashAfter) => self.die().await,
            Some(Fault::SlowAnswer(millis)) => sleep(millis).await,
            _ => {}
        }
        self.life.awake(&self.world).await;
    }

    /// The end of this process; whoever runs in it gets no further.
    pub(crate) async fn die(&self) {
        self.life.kill();
        std::future::pending::<()>().await;
    }
}

pub(crate) async fn sleep(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
