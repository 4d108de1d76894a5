//! The executor, simulated: journal, epochs, processes and the ledger of what they did. It answers as
//! `executor/src/session` and `router/src/dispatch.rs` do; the real ones are met in ring 2.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_engine::ports::{Order, Placement};
use perennial_proof::oracle::{Resource, StaleWrite};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, JournalId, SessionId};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::plan::{Fault, Op};
use crate::world::{Sabotage, World, sleep};

/// The executor's number among the nodes.
pub(crate) const NODE: usize = 100;
/// Its name: all nodes are on its host.
pub(crate) const EXECUTOR: ExecutorId = ExecutorId::from_uuid(Uuid::from_u128(1));
/// How long a call waits for an executor that is away.
const ATTACH_WAIT: u64 = 500;

type CallKey = (SessionId, EventId);

/// The executor: one for all workers.
pub(crate) struct Hands {
    world: Arc<World>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    journal_id: u64,
    away: bool,
    highest: BTreeMap<SessionId, u64>,
    journal: BTreeMap<CallKey, Entry>,
    /// A copy of journal and marks, made when the process died last: what a disk is put back to.
    older: (BTreeMap<CallKey, Entry>, BTreeMap<SessionId, u64>),
    running: BTreeMap<CallKey, Running>,
    /// The world: what tools did, by session.
    effects: BTreeMap<SessionId, Vec<String>>,
    /// The journal's lines, for the oracle.
    lines: BTreeMap<SessionId, Vec<Value>>,
}

#[derive(Clone)]
enum Entry {
    Started,
    Done(Outcome),
}

struct Running {
    /// The newest lease that asked for it.
    epoch: u64,
    waiters: Vec<oneshot::Sender<Heard>>,
    process: Option<AbortHandle>,
}

/// What a waiter hears: the outcome, or that a newer lease has spoken.
type Heard = Option<Outcome>;

/// What the executor says at once; who waits hears more, or that the link broke.
pub(crate) enum Word {
    Wait(oneshot::Receiver<Heard>),
    Done(Outcome),
    NeverStarted,
    Lost,
    Stale,
}

impl Hands {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            inner: Mutex::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn effects(&self, session: SessionId) -> Vec<String> {
        self.inner().effects.get(&session).cloned().unwrap_or_default()
    }

    pub(crate) fn lines(&self, session: SessionId) -> Vec<Value> {
        self.inner().lines.get(&session).cloned().unwrap_or_default()
    }

    pub(crate) fn placement(&self) -> Placement {
        Placement {
            executor_id: EXECUTOR,
            journal_id: JournalId::from_uuid(Uuid::from_u128(u128::from(self.inner().journal_id))),
        }
    }

    /// The executor's process dies; what ran is gone. The disk stays, or is put back to what it was when the process died before,
    /// if it ever did. It is back after a while.
    pub(crate) fn crash(self: &Arc<Self>, rebuilt: bool) {
        let mut inner = self.inner();
        inner.away = true;
        let running = std::mem::take(&mut inner.running);
        if rebuilt {
            if self.world.sabotage != Sabotage::NoNewJournal {
                inner.journal_id += 1;
            }
            (inner.journal, inner.highest) = inner.older.clone();
            if !inner.journal.is_empty() {
                self.world.count("journal put back");
            }
        } else {
            inner.older = (inner.journal.clone(), inner.highest.clone());
        }
        drop(inner);
        for process in running.into_values().filter_map(|running| running.process) {
            process.abort();
        }
        let hands = Arc::clone(self);
        tokio::spawn(async move {
            let decision = hands.world.chance();
            sleep(20 + hands.world.roll(decision, 2) % 900).await;
            hands.inner().away = false;
        });
    }

    /// Waits for the executor named at dispatch; false when it stays away.
    pub(crate) async fn attached(&self) -> bool {
        for _ in 0..ATTACH_WAIT / 20 {
            if !self.inner().away {
                return true;
            }
            sleep(20).await;
        }
        !self.inner().away
    }

    /// The high-water mark (I4).
    fn admit(&self, order: &Order) -> bool {
        let session = order.key.session;
        let mut inner = self.inner();
        let highest = inner.highest.entry(session).or_default();
        let seen = *highest;
        *highest = seen.max(order.epoch);
        if order.epoch < seen {
            drop(inner);
            self.world.count("executor refused an old epoch");
            let (at, epoch, accepted) = (Resource::Executor, order.epoch, false);
            self.world
                .learn(order.key, |facts| facts.stale.push(StaleWrite { at, epoch, accepted }));
            return false;
        }
        if order.epoch > seen {
            let line = json!({"epoch": order.epoch});
            inner.lines.entry(session).or_default().push(line);
        }
        true
    }

    fn known(&self, key: CallKey) -> Option<Entry> {
        let forgets = self.world.sabotage == Sabotage::NoJournal;
        self.inner().journal.get(&key).cloned().filter(|_| !forgets)
    }

    fn attach(&self, key: CallKey, epoch: u64) -> Option<oneshot::Receiver<Heard>> {
        if self.world.sabotage == Sabotage::NoJournal {
            return None;
        }
        let mut inner = self.inner();
        let running = inner.running.get_mut(&key)?;
        running.epoch = running.epoch.max(epoch);
        let (waiter, heard) = oneshot::channel();
        running.waiters.push(waiter);
        drop(inner);
        self.world.count("call attached");
        Some(heard)
    }

    /// A call arrives.
    pub(crate) fn take(self: &Arc<Self>, order: &Order) -> Word {
        let key = (order.key.session, order.call_id);
        if !self.admit(order) {
            return Word::Stale;
        }
        if let Some(heard) = self.attach(key, order.epoch) {
            return Word::Wait(heard);
        }
        match self.known(key) {
            Some(Entry::Done(outcome)) => Word::Done(outcome),
            Some(Entry::Started) if order.effect == Effect::Once => Word::Lost,
            Some(Entry::Started) | None => {
                let (waiter, heard) = oneshot::channel();
                self.inner().running.insert(
                    key,
                    Running {
                        epoch: order.epoch,
                        waiters: vec![waiter],
                        process: None,
                    },
                );
                let process = tokio::spawn(run(Arc::clone(self), order.clone())).abort_handle();
                if let Some(running) = self.inner().running.get_mut(&key) {
                    running.process = Some(process);
                }
                Word::Wait(heard)
            }
        }
    }

    /// A question arrives.
    pub(crate) fn ask(&self, order: &Order) -> Word {
        let key = (order.key.session, order.call_id);
        if !self.admit(order) {
            return Word::Stale;
        }
        if let Some(heard) = self.attach(key, order.epoch) {
            return Word::Wait(heard);
        }
        match self.known(key) {
            Some(Entry::Done(outcome)) => Word::Done(outcome),
            Some(Entry::Started) => Word::Lost,
            None => Word::NeverStarted,
        }
    }

    /// Stops a running call; its waiters hear so.
    pub(crate) fn cancel(&self, session: SessionId, epoch: u64, call_id: EventId) {
        let key = (session, call_id);
        let mut inner = self.inner();
        if epoch < inner.highest.get(&session).copied().unwrap_or(0) {
            return;
        }
        let Some(running) = inner.running.remove(&key) else {
            return;
        };
        let outcome = Outcome::text("[cancelled (asked to stop)]", true);
        inner.journal.insert(key, Entry::Done(outcome.clone()));
        drop(inner);
        self.world.count("call cancelled");
        if let Some(process) = running.process {
            process.abort();
        }
        for waiter in running.waiters {
            let _gone = waiter.send(Some(outcome.clone()));
        }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.inner().away
    }

    fn line(&self, session: SessionId, line: Value) {
        self.inner().lines.entry(session).or_default().push(line);
    }

    fn ends(&self, order: &Order, outcome: &Outcome) {
        let key = (order.key.session, order.call_id);
        if order.effect != Effect::Read {
            self.inner().journal.insert(key, Entry::Done(outcome.clone()));
            self.line(order.key.session, json!({"result": {"call_id": order.call_id}}));
        }
        let running = self.inner().running.remove(&key);
        for waiter in running.into_iter().flat_map(|running| running.waiters) {
            let _gone = waiter.send(Some(outcome.clone()));
        }
    }

    /// The executor's own crash points; true when it died there.
    fn dies(self: &Arc<Self>, at: Op) -> bool {
        let fault = self.world.decide(NODE, at).1;
        match fault {
            Some(Fault::HandsCrash) => self.crash(false),
            Some(Fault::HandsRebuilt) => self.crash(true),
            _ => return false,
        }
        true
    }
}

/// A call's process: `started` on disk, act, `result` on disk, answer.
async fn run(hands: Arc<Hands>, order: Order) {
    let session = order.key.session;
    let key = (session, order.call_id);
    let input: Value = order.input.parse().unwrap_or_default();
    // The shell may be busy.
    let decision = hands.world.chance();
    if hands.world.roll(decision, 8).is_multiple_of(5) {
        sleep(hands.world.roll(decision, 9) % 250).await;
    } else {
        tokio::task::yield_now().await;
    }
    if hands.dies(Op::Begins) {
        return;
    }
    let epoch = hands
        .inner()
        .running
        .get(&key)
        .map_or(order.epoch, |running| running.epoch);
    // It waited, and a newer lease has spoken meanwhile: that one asks for it, or does not.
    if epoch < hands.inner().highest.get(&session).copied().unwrap_or(0) {
        hands.world.count("call of an old lease not begun");
        let running = hands.inner().running.remove(&key);
        for waiter in running.into_iter().flat_map(|running| running.waiters) {
            let _gone = waiter.send(None);
        }
        return;
    }
    if order.effect != Effect::Read {
        hands.inner().journal.insert(key, Entry::Started);
        let line = json!({"started": {"call_id": order.call_id, "epoch": epoch, "effect": order.effect}});
        hands.line(session, line);
    }
    let command = input["command"].as_str().unwrap_or_default();
    let millis = command
        .strip_prefix("sleep 0.")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0);
    sleep(millis).await;
    if hands.dies(Op::Acts) {
        return;
    }
    if let Some((_, mark)) = command
        .strip_suffix(" >> ledger")
        .and_then(|line| line.rsplit_once("echo "))
    {
        let mut inner = hands.inner();
        inner.effects.entry(session).or_default().push(mark.to_owned());
    }
    if hands.dies(Op::Ends) {
        return;
    }
    hands.ends(&order, &Outcome::text("done", false));
}
