//! The one reconciler of an instance: looks at what exists, compares it with what is known, and does what [`decide`] says, each
//! sandbox by itself. It takes what somebody wants and nobody makes. It has no memory that matters: a process that takes over
//! looks, and goes on.

mod actions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_engine::ports::{
    Bus, Executors, NewSandboxHost, ProvisionError, Provisioner, SANDBOX_HOSTS, Sandbox, SandboxHosts, SandboxSpec,
    SandboxState, Sandboxes, Seen, Sessions, StoreError,
};
use perennial_schema::ExecutorId;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::decide::{Action, Facts, decide};
use super::presence::Presence;
use super::sweep::Sweep;
use crate::exchange::Exchange;
use crate::limits;

/// The ways out of sandboxes: where the executor in each dials home. Opening one that is open changes nothing.
pub trait Doors: Send + Sync {
    /// Listens for one executor.
    ///
    /// # Errors
    /// When it cannot.
    fn open(&self, executor: ExecutorId) -> std::io::Result<()>;

    /// Does not any more; nothing of the door is left.
    fn close(&self, executor: ExecutorId);
}

/// Makes, pauses, resumes and removes the sandboxes of one instance.
pub struct Reconciler {
    store: Arc<dyn Sandboxes>,
    registry: Arc<dyn Executors>,
    provisioner: Arc<dyn Provisioner>,
    doors: Arc<dyn Doors>,
    bus: Arc<dyn Bus>,
    instance: ExecutorId,
    defaults: SandboxSpec,
    presence: Presence,
    sweep: Sweep,
    state: Mutex<State>,
    /// Something was done, and may have to be followed by something else.
    done: Notify,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    /// Something is being done about these.
    busy: BTreeSet<ExecutorId>,
    /// Since when these run and have not dialled home.
    running: BTreeMap<ExecutorId, Instant>,
    /// Whether these were on the line when they were looked at.
    attached: BTreeMap<ExecutorId, bool>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    /// Over these ports. `host` names the instance: sandboxes of others are not touched.
    pub fn new(
        (store, hosts): (Arc<dyn Sandboxes>, Arc<dyn SandboxHosts>),
        (registry, sessions): (Arc<dyn Executors>, Arc<dyn Sessions>),
        provisioner: Arc<dyn Provisioner>,
        doors: Arc<dyn Doors>,
        bus: Arc<dyn Bus>,
        host: NewSandboxHost,
    ) -> Self {
        let sweep = Sweep {
            store: store.clone(),
            sessions,
            registry: registry.clone(),
            bus: bus.clone(),
            instance: host.instance,
        };
        Self {
            store,
            registry,
            provisioner,
            doors,
            bus,
            instance: host.instance,
            defaults: host.defaults.clone(),
            presence: Presence::new(hosts, host),
            sweep,
            state: Mutex::default(),
            done: Notify::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that this process makes sandboxes: to be said before anybody asks who does.
    pub async fn announce(&self) {
        self.presence.say().await;
    }

    /// The container engine answered, and this is what it is.
    pub fn found(&self, engine: String) {
        self.presence.describe(|host| host.engine = Some(engine));
    }

    /// Looks after the sandboxes until it is closed.
    pub async fn tend(self: Arc<Self>, exchange: Arc<Exchange>) {
        let tending = async {
            tokio::join!(self.presence.beat(), self.look_after(&exchange), self.sweep.run());
        };
        self.closing.run_until_cancelled(tending).await;
    }

    async fn look_after(self: &Arc<Self>, exchange: &Arc<Exchange>) {
        let mut nudges = self.bus.nudges(SANDBOX_HOSTS);
        let mut attached = exchange.attachments();
        let mut told = false;
        loop {
            self.presence.alone().await;
            attached.borrow_and_update();
            let looked = self.look(exchange).await;
            let trouble = looked.as_ref().err().map(ToString::to_string);
            if let Some(trouble) = trouble.as_ref().filter(|_| !told) {
                tracing::warn!(error = trouble, "sandboxes cannot be looked after");
            }
            told = trouble.is_some();
            self.presence.describe(|host| host.trouble = trouble);
            let until = tokio::time::Instant::now() + looked.unwrap_or(limits::SANDBOX_LOOK);
            // Whoever waits nudges again and again.
            sleep(limits::SANDBOX_GAP).await;
            loop {
                tokio::select! {
                    () = self.done.notified() => break,
                    _ = attached.changed() => if self.differs(exchange) { break } else { continue },
                    () = sleep_until(until) => break,
                    () = nudges.next() => {}
                    () = sleep(limits::SANDBOX_SWEEP) => {}
                }
                if self.store.stirs(self.instance).await.unwrap_or(false) {
                    break;
                }
            }
        }
    }

    /// Whether one came on the line since it was looked at, or went.
    fn differs(&self, exchange: &Exchange) -> bool {
        let attached = &self.state().attached;
        attached
            .iter()
            .any(|(executor, was)| exchange.live(*executor).is_some() != *was)
    }

    /// Ends it; what is being done is done first, within reason. Sandboxes go on: whoever starts next finds them.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(limits::SANDBOX_CLOSE, self.tasks.wait()).await.is_err() {
            tracing::warn!("what is done to a sandbox is not finished; the next process looks after it");
        }
    }

    /// One look at everything. Answers how long nothing needs to be looked at.
    async fn look(self: &Arc<Self>, exchange: &Arc<Exchange>) -> Result<Duration, Trouble> {
        // What something is done about may look like anything.
        let busy = self.state().busy.clone();
        // In this order: what is seen is known by then, so what is seen and not known is a leftover.
        let seen = self.provisioner.list().await?;
        let room = limits::SANDBOXES_BUSY.saturating_sub(busy.len());
        let most = u32::try_from(room.min(limits::SANDBOXES_ADOPTED)).unwrap_or_default();
        self.store.adopt(self.instance, most).await?;
        let known = self.store.of_instance(self.instance).await?;
        self.state().attached = known
            .iter()
            .map(|sandbox| (sandbox.executor, exchange.live(sandbox.executor).is_some()))
            .collect();
        let mut rest = limits::SANDBOX_REST;
        let ids: BTreeSet<ExecutorId> = known.iter().map(|sandbox| sandbox.executor).collect();
        let leftovers = seen
            .keys()
            .filter(|executor| !ids.contains(executor) && !busy.contains(executor));
        leftovers.for_each(|executor| self.leftover(*executor));
        for sandbox in known.into_iter().filter(|sandbox| !busy.contains(&sandbox.executor)) {
            let executor = sandbox.executor;
            if sandbox.state.is_live()
                && let Err(error) = self.doors.open(executor)
            {
                tracing::error!(executor.id = %executor, %error, "the door of a sandbox cannot be opened");
            }
            let facts = self.facts(exchange, &sandbox, seen.get(&executor));
            let action = decide(&sandbox.state, seen.get(&executor), facts);
            rest = rest.min(self.rest(&sandbox, &action, facts));
            self.act(exchange, sandbox, action);
        }
        Ok(rest)
    }

    fn facts(&self, exchange: &Exchange, sandbox: &Sandbox, seen: Option<&Seen>) -> Facts {
        let executor = sandbox.executor;
        let attached = exchange.live(executor).is_some();
        let mut state = self.state();
        let since = match seen {
            Some(Seen::Running) if !attached => Some(*state.running.entry(executor).or_insert_with(Instant::now)),
            _ => {
                state.running.remove(&executor);
                None
            }
        };
        Facts {
            attached,
            wanted: sandbox.unused_for.is_none(),
            idle: sandbox.unused_for.is_some_and(|unused| unused >= self.idle(sandbox)),
            late: since.is_some_and(|since| since.elapsed() >= limits::SANDBOX_DIALS),
            old: sandbox.unchanged_for >= limits::SANDBOX_FAILURE,
        }
    }

    /// How long one is kept running without a call.
    fn idle(&self, sandbox: &Sandbox) -> Duration {
        let seconds = sandbox.container.idle_timeout.unwrap_or(self.defaults.idle_timeout);
        Duration::from_secs(seconds.into())
    }

    /// When this one is to be looked at again.
    fn rest(&self, sandbox: &Sandbox, action: &Action, facts: Facts) -> Duration {
        match (&sandbox.state, action) {
            (SandboxState::Ready, Action::Wait) if facts.attached || !facts.wanted => self
                .idle(sandbox)
                .saturating_sub(sandbox.unused_for.unwrap_or_default())
                .max(limits::SANDBOX_LOOK),
            (SandboxState::Paused | SandboxState::Failed { .. }, Action::Wait) if !facts.wanted => limits::SANDBOX_REST,
            _ => limits::SANDBOX_LOOK,
        }
    }

    /// Does what is to be done beside everything else; one thing at a time for each sandbox.
    fn act(self: &Arc<Self>, exchange: &Arc<Exchange>, sandbox: Sandbox, action: Action) {
        let executor = sandbox.executor;
        if action == Action::Wait || !self.state().busy.insert(executor) {
            return;
        }
        let (this, exchange) = (Arc::clone(self), Arc::clone(exchange));
        self.tasks.spawn(async move {
            tracing::debug!(executor.id = %executor, ?action, "sandbox");
            let done = this.carry_out(&exchange, sandbox, action).await;
            this.state().busy.remove(&executor);
            match done {
                Ok(()) => this.done.notify_one(),
                // Tried again with the next look.
                Err(error) => this.in_trouble(executor, &error).await,
            }
        });
    }
}

/// What went wrong while sandboxes were looked after.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
