//! The ports as one node has them: the memory store, a local bus and a model, each behind the node's gate.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use perennial_broker::bus::local::Local;
use perennial_broker::{Hinted, blobs};
use perennial_engine::kernel::MessagePart;
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Backlog, Bus, Claimed, Delta, DeltaSink, Demand, EventFilter, Held, Ids,
    Leases, Log, ModelError, ModelStep, NoSeals, Notice, Pool, PoolWorker, ReadFrom, Ready, ReadyCount, RenewError,
    Requests, SessionKey, Sessions, Standing, StoreError, Subscription, Unanswered, WakeUps, WorkerCard,
};
use perennial_proof::oracle::{Resource, StaleWrite};
use perennial_schema::event::Record;
use perennial_schema::{EventId, ExecutorId, OwnerId, WorkspaceId, agent};
use perennial_worker::Ports;
use perennial_worker::harness::{Harness, Harnesses, Native, Think};
use perennial_worker::model::rehearsal::Rehearsal;

use crate::hands::Hands;
use crate::plan::{Fault, Op, mix};
use crate::reach::Reach;
use crate::world::{Gate, Life, Refused, Sabotage, Watch, World, sleep};

/// The store and the bus as this node reaches them. With short pages a read answers a few events of many, as it does where events are
/// large.
pub(crate) fn store(world: &Arc<World>, life: &Arc<Life>, short_pages: bool) -> (Arc<Hinted<Store>>, Arc<NodeBus>) {
    let gate = Gate {
        world: Arc::clone(world),
        life: Arc::clone(life),
    };
    let local = Local::new();
    world.join_bus(life.node, &local);
    let bus = Arc::new(NodeBus {
        world: Arc::clone(world),
        local,
    });
    let hinted = Hinted::new(Store { gate, short_pages }, Arc::<NodeBus>::clone(&bus) as Arc<dyn Bus>);
    (Arc::new(hinted), bus)
}

/// Everything a worker needs.
pub(crate) fn worker(world: &Arc<World>, life: &Arc<Life>, hands: &Arc<Hands>) -> Ports {
    let short_pages = mix(world.plan.seed, life.node as u64, 9).is_multiple_of(3);
    let (store, bus) = store(world, life, short_pages);
    let gate = store.store().gate.clone();
    // In some runs clocks are wrong by up to an hour, each by its own error.
    let error = mix(world.plan.seed, life.node as u64, 8);
    let skew = if error.is_multiple_of(3) {
        i64::try_from(error / 3 % 7_200_000).unwrap_or(0) - 3_600_000
    } else {
        0
    };
    Ports {
        log: Arc::<Hinted<Store>>::clone(&store),
        leases: store,
        pool: Arc::new(Steered(gate.clone())),
        bus,
        router: Arc::new(Reach {
            gate: gate.clone(),
            hands: Arc::clone(hands),
        }),
        blobs: Arc::new(blobs::memory::Memory::default()),
        seals: Arc::new(NoSeals),
        clock: Arc::new(Watch {
            world: Arc::clone(world),
            skew,
        }),
        ids: Arc::<World>::clone(world) as Arc<dyn Ids>,
        harnesses: Arc::new(Brains {
            gate,
            model: Arc::default(),
        }),
    }
}

/// The memory store through a gate.
pub(crate) struct Store {
    gate: Gate,
    short_pages: bool,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable {
        store: "memory",
        message: "the simulation says so".into(),
    }
}

impl From<Refused> for StoreError {
    fn from(_: Refused) -> Self {
        unavailable()
    }
}

impl From<Refused> for AppendError {
    fn from(_: Refused) -> Self {
        Self::Store(unavailable())
    }
}

impl From<Refused> for RenewError {
    fn from(_: Refused) -> Self {
        Self::Store(unavailable())
    }
}

impl Store {
    /// What the store does with an append, sabotaged or not; learns what the oracle wants to know.
    async fn apply(&self, mut append: Append) -> Result<Appended, AppendError> {
        let world = &self.gate.world;
        let (key, id) = (append.key, append.append_id);
        let epoch = match &mut append.authority {
            Authority::Holder {
                epoch,
                only_at_head,
                release,
            } => {
                if world.sabotage == Sabotage::NoConditionalRelease && *release {
                    *only_at_head = None;
                }
                Some(*epoch)
            }
            Authority::Client { idempotency, .. } => {
                if world.sabotage == Sabotage::NoDedupe {
                    *idempotency = None;
                }
                None
            }
        };
        if world.sabotage == Sabotage::NoDedupe {
            append.append_id = world.append();
        }
        let (releases, conditional) = match append.authority {
            Authority::Holder {
                release, only_at_head, ..
            } => (release, only_at_head.is_some()),
            Authority::Client { .. } => (false, false),
        };
        let row = world.store.get(key).await?;
        let newest = row.map_or(0, |row| row.epoch);
        let mut outcome = world.store.append(append.clone()).await;
        if world.sabotage == Sabotage::NoFence && matches!(outcome, Err(AppendError::Fenced { .. })) {
            append.authority = Authority::Client {
                guards: Vec::new(),
                idempotency: None,
            };
            outcome = world.store.append(append).await;
        }
        match &outcome {
            Ok(appended) if !appended.replayed => {
                if let Some(epoch) = epoch {
                    world.learn(key, |facts| {
                        facts
                            .epochs
                            .extend((appended.first_seq..=appended.last_seq).map(|seq| (seq, epoch)));
                    });
                }
            }
            Ok(_) => {}
            Err(AppendError::Fenced { .. }) => world.count("append fenced"),
            Err(AppendError::Moved { .. }) if releases => world.count("release refused: the head moved"),
            Err(AppendError::Moved { .. }) if conditional => world.count("append refused: the head moved"),
            Err(_) => {}
        }
        let replayed = outcome.as_ref().is_ok_and(|appended| appended.replayed);
        if let Some(epoch) = epoch.filter(|epoch| *epoch < newest && !replayed) {
            let (at, accepted) = (Resource::Log, outcome.is_ok());
            world.learn(key, |facts| facts.stale.push(StaleWrite { at, epoch, accepted }));
        }
        if outcome.is_ok() {
            world.resolve(id);
        }
        outcome
    }
}

#[async_trait]
impl Log for Store {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let gate = &self.gate;
        let fault = gate.enter(Op::Append).await?;
        let id = append.append_id;
        if matches!(append.authority, Authority::Holder { .. }) && gate.world.kills(append.key) {
            gate.world.count("poison killed a holder");
            gate.die().await;
        }
        if fault == Some(Fault::LostUnknown) {
            gate.world.doubt(id, false);
            return Err(unknown().into());
        }
        let outcome = self.apply(append).await;
        gate.leave(fault).await;
        if fault == Some(Fault::AppliedUnknown) {
            if outcome.is_ok() {
                gate.world.doubt(id, true);
            }
            return Err(unknown().into());
        }
        outcome
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        let fault = self.gate.enter(Op::Read).await?;
        let mut records = self.gate.world.store.read(key, from).await;
        if let Ok(records) = &mut records
            && self.short_pages
        {
            let most = 1 + mix(self.gate.world.plan.seed, from.after, 13) as usize % 3;
            if records.len() > most {
                records.truncate(most);
                self.gate.world.count("a page was short");
            }
        }
        self.gate.leave(fault).await;
        records
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.gate.world.store.event(key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.gate.world.store.list(key, filter).await
    }
}

fn unknown() -> StoreError {
    StoreError::Unknown {
        message: "the simulation says so".into(),
    }
}

#[async_trait]
impl Leases for Store {
    async fn register(
        &self,
        owner: OwnerId,
        ttl_millis: u64,
        reach: &perennial_engine::ports::Reach,
    ) -> Result<(), StoreError> {
        let fault = self.gate.enter(Op::Register).await?;
        let registered = self.gate.world.store.register(owner, ttl_millis, reach).await;
        self.gate.leave(fault).await;
        registered
    }

    async fn claim(&self, owner: OwnerId, limit: u32, pass_by: &[SessionKey]) -> Result<Vec<Claimed>, StoreError> {
        let fault = self.gate.enter(Op::Claim).await?;
        let claimed = self.gate.world.store.claim(owner, limit, pass_by).await;
        self.gate.leave(fault).await;
        claimed
    }

    async fn renew(&self, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
        let fault = self.gate.enter(Op::Renew).await?;
        let held = self.gate.world.store.renew(owner, ttl_millis).await;
        if matches!(held, Err(RenewError::Expired)) {
            self.gate.world.count("lease found expired");
        }
        self.gate.leave(fault).await;
        held
    }

    async fn release(&self, key: SessionKey, epoch: u64, ready: Ready, only_at_head: u64) -> Result<(), StoreError> {
        let fault = self.gate.enter(Op::Release).await?;
        let at_head = if self.gate.world.sabotage == Sabotage::NoConditionalRelease {
            let row = self.gate.world.store.get(key).await?;
            row.map_or(only_at_head, |row| row.head)
        } else {
            only_at_head
        };
        let released = self.gate.world.store.release(key, epoch, ready, at_head).await;
        self.gate.leave(fault).await;
        released
    }

    async fn unregister(&self, owner: OwnerId) -> Result<(), StoreError> {
        let fault = self.gate.enter(Op::Unregister).await?;
        self.gate.world.count("owner signed off");
        let done = self.gate.world.store.unregister(owner).await;
        self.gate.leave(fault).await;
        done
    }

    async fn ready(&self) -> Result<ReadyCount, StoreError> {
        self.gate.world.store.ready().await
    }
}

/// One node's end of the bus: what is published goes to every node, each over its own bad line.
pub(crate) struct NodeBus {
    world: Arc<World>,
    local: Local,
}

#[derive(Clone, Copy)]
enum Message {
    Hint(SessionKey, u64),
    Wake,
}

fn deliver(to: &Local, message: Message) {
    match message {
        Message::Hint(key, seq) => to.hint(key, seq),
        Message::Wake => to.wake(),
    }
}

impl NodeBus {
    fn publish(&self, message: Message) {
        if self.world.silent && !self.world.is_healed() {
            return;
        }
        for (node, local) in self.world.buses() {
            match self.world.decide(node, Op::Message).1 {
                Some(Fault::Dropped) => {}
                Some(Fault::Doubled) => {
                    deliver(&local, message);
                    deliver(&local, message);
                }
                // Late ones are overtaken by those behind them.
                Some(Fault::Late(millis)) => {
                    tokio::spawn(async move {
                        sleep(millis).await;
                        deliver(&local, message);
                    });
                }
                _ => deliver(&local, message),
            }
        }
    }
}

#[async_trait]
impl Bus for NodeBus {
    fn hint(&self, key: SessionKey, seq: u64) {
        self.publish(Message::Hint(key, seq));
    }

    /// Nobody here watches previews.
    fn delta(&self, _key: SessionKey, _delta: Delta) {}

    fn wake(&self) {
        self.publish(Message::Wake);
    }

    fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription> {
        self.local.subscribe(key)
    }

    fn wake_ups(&self) -> Box<dyn WakeUps> {
        self.local.wake_ups()
    }

    fn changed(&self, _workspace: WorkspaceId) {}

    fn changes(&self, workspace: WorkspaceId) -> Box<dyn WakeUps> {
        self.local.changes(workspace)
    }

    fn nudge(&self, _about: ExecutorId) {}

    fn nudges(&self, about: ExecutorId) -> Box<dyn WakeUps> {
        self.local.nudges(about)
    }

    async fn request(&self, to: ExecutorId, body: Bytes) -> Result<Bytes, Unanswered> {
        self.local.request(to, body).await
    }

    fn requests(&self, at: ExecutorId) -> Box<dyn Requests> {
        self.local.requests(at)
    }
}

/// What hears a hint, for a follower of a stream.
pub(crate) async fn hinted(subscription: &mut Box<dyn Subscription>) {
    while let Some(notice) = subscription.next().await {
        if !matches!(notice, Notice::Delta(_)) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// A pool whose operator changes their mind all the time; once the faults are over, everybody works.
struct Steered(Gate);

#[async_trait]
impl Pool for Steered {
    async fn attend(&self, _: OwnerId, _: &WorkerCard) -> Result<Standing, StoreError> {
        let fault = self.0.enter(Op::Attend).await?;
        let world = &self.0.world;
        let decision = world.chance();
        let standing = match world.roll(decision, 9) % 12 {
            _ if world.is_healed() => Standing::Active,
            0 => Standing::Cordoned,
            1 => Standing::Draining,
            _ => Standing::Active,
        };
        match standing {
            Standing::Cordoned => world.count("worker cordoned"),
            Standing::Draining => world.count("worker told to give back"),
            Standing::Active => {}
        }
        self.0.leave(fault).await;
        Ok(standing)
    }

    async fn leave(&self, _: OwnerId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<PoolWorker>, StoreError> {
        Err(unavailable())
    }

    async fn steer(&self, _: OwnerId, _: Standing) -> Result<Option<PoolWorker>, StoreError> {
        Err(unavailable())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        Err(unavailable())
    }

    async fn demand(&self) -> Result<Vec<Demand>, StoreError> {
        Err(unavailable())
    }
}

/// The rehearsal model, behind the gate. Each process has its own: what it counts dies with it.
struct Brains {
    gate: Gate,
    model: Arc<Rehearsal>,
}

impl Harnesses for Brains {
    fn open(&self, _: &agent::Harness) -> Result<Box<dyn Harness>, ModelError> {
        Ok(Box::new(Brain {
            gate: self.gate.clone(),
            native: Native::new(Arc::<Rehearsal>::clone(&self.model)),
        }))
    }

    /// In some runs the model is soon told more than it takes.
    fn compact_at(&self, _: &agent::AgentSnapshot) -> u64 {
        if self.gate.world.plan.seed.is_multiple_of(3) {
            120
        } else {
            u64::MAX
        }
    }
}

/// Whether the model is asked for a summary.
fn is_compaction(ask: &Think<'_>) -> bool {
    let last = ask.messages.last().and_then(|message| message.parts.last());
    matches!(last, Some(MessagePart::Text(text)) if text.contains("write a summary of this conversation"))
}

struct Brain {
    gate: Gate,
    native: Native,
}

#[async_trait]
impl Harness for Brain {
    async fn think(&mut self, ask: Think<'_>, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
        let fault = self.gate.enter(Op::Think).await.ok().flatten();
        let is_compaction = is_compaction(&ask);
        let step = self.native.think(ask, sink).await;
        match &step {
            Err(_) => self.gate.world.count("model request failed"),
            Ok(_) if is_compaction => self.gate.world.count("context summarised"),
            Ok(_) => {}
        }
        self.gate.leave(fault).await;
        step
    }

    async fn close(&mut self) {
        self.native.close().await;
    }
}
