//! The one reconciler of an instance: looks at what exists, compares it with what is known, and does what [`decide`] says, each
//! sandbox by itself. It has no memory that matters: a process that takes over looks, and goes on.

mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_engine::ports::{
    Boot, Clock, CodeError, Executors, ProvisionError, Provisioner, Sandbox, SandboxSpec, SandboxState, Sandboxes,
    Seen, StoreError,
};
use perennial_schema::ExecutorId;
use perennial_schema::environment::{Container, Cpus};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::place::Patience;
use super::decide::{Action, Facts, decide};
use super::uses::Uses;
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

/// What a sandbox is made of when its environment does not say.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// A container image.
    pub image: String,
    /// Processors.
    pub cpu: Cpus,
    /// Bytes of memory.
    pub memory: u64,
    /// Seconds without a call.
    pub idle_timeout: u32,
}

impl Defaults {
    fn fill(&self, container: &Container) -> SandboxSpec {
        SandboxSpec {
            image: container.image.clone().unwrap_or_else(|| self.image.clone()),
            cpu: container.cpu.unwrap_or(self.cpu),
            memory: container.memory.unwrap_or(self.memory),
            disk: container.disk,
            idle_timeout: container.idle_timeout.unwrap_or(self.idle_timeout),
        }
    }
}

/// Makes, pauses, resumes and removes the sandboxes of one instance.
pub struct Reconciler {
    store: Arc<dyn Sandboxes>,
    registry: Arc<dyn Executors>,
    provisioner: Arc<dyn Provisioner>,
    doors: Arc<dyn Doors>,
    clock: Arc<dyn Clock>,
    instance: ExecutorId,
    defaults: Defaults,
    uses: Uses,
    state: Mutex<State>,
    /// Somebody wants something.
    wanted: Notify,
    /// Ticks when something is other than it was.
    changed: watch::Sender<u64>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    /// Something is being done about these.
    busy: BTreeSet<ExecutorId>,
    /// Since when these run and have not dialled home.
    running: BTreeMap<ExecutorId, Instant>,
    /// What went wrong last.
    trouble: BTreeMap<ExecutorId, String>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    /// Over these ports. `instance` names the install: sandboxes of others are not seen.
    pub fn new(
        store: Arc<dyn Sandboxes>,
        registry: Arc<dyn Executors>,
        provisioner: Arc<dyn Provisioner>,
        doors: Arc<dyn Doors>,
        clock: Arc<dyn Clock>,
        instance: ExecutorId,
        defaults: Defaults,
    ) -> Self {
        Self {
            store,
            registry,
            provisioner,
            doors,
            clock,
            instance,
            defaults,
            uses: Uses::default(),
            state: Mutex::default(),
            wanted: Notify::new(),
            changed: watch::Sender::new(0),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// What a sandbox is, in a line.
    pub(crate) fn describe(&self, container: &Container) -> String {
        let spec = self.defaults.fill(container);
        let cpus = f64::from(spec.cpu.in_thousandths()) / 1000.0;
        format!(
            "a container of this session alone, of the image {}, {cpus} processors, {} MiB of memory",
            spec.image,
            spec.memory >> 20
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        self.changed.send_modify(|ticks| *ticks = ticks.wrapping_add(1));
    }

    /// Looks after the sandboxes until it is closed.
    pub async fn tend(self: Arc<Self>, exchange: Arc<Exchange>) {
        let mut told = false;
        while let Some(looked) = self.closing.run_until_cancelled(self.look(&exchange)).await {
            let rest = match looked {
                Ok(rest) => {
                    told = false;
                    rest
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "sandboxes cannot be looked after");
                    }
                    self.in_trouble(&error);
                    limits::SANDBOX_REST
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => {}
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Ends it; what is being done is done first, within reason. Sandboxes go on: whoever starts next finds them.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(limits::SANDBOX_CLOSE, self.tasks.wait()).await.is_err() {
            tracing::warn!("what is done to a sandbox is not finished; the next process looks after it");
        }
    }

    fn in_trouble(&self, error: &Trouble) {
        let waiting = self.uses.all_wanted();
        let mut state = self.state();
        for executor in waiting {
            state.trouble.insert(executor, error.to_string());
        }
        drop(state);
        self.tick();
    }

    /// One look at everything. Answers how long nothing needs to be looked at.
    async fn look(self: &Arc<Self>, exchange: &Arc<Exchange>) -> Result<Duration, Trouble> {
        // What something is done about may look like anything.
        let busy = self.state().busy.clone();
        // In this order: what is seen is known by then, so what is seen and not known is a leftover.
        let seen = self.provisioner.list().await?;
        let known = self.store.of_instance(self.instance).await?;
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
            wanted: self.uses.wanted(executor),
            idle: self.uses.idle(executor) >= Duration::from_secs(sandbox.spec.idle_timeout.into()),
            late: since.is_some_and(|since| since.elapsed() >= limits::SANDBOX_DIALS),
            old: sandbox.changed_at.plus_millis(limits::SANDBOX_FAILURE_MILLIS) < self.clock.now(),
        }
    }

    /// When this one is to be looked at again.
    fn rest(&self, sandbox: &Sandbox, action: &Action, facts: Facts) -> Duration {
        match (&sandbox.state, action) {
            (SandboxState::Ready, Action::Wait) if !facts.wanted => {
                let most = Duration::from_secs(sandbox.spec.idle_timeout.into());
                most.saturating_sub(self.uses.idle(sandbox.executor))
                    .max(limits::SANDBOX_LOOK)
            }
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
            if let Err(error) = this.carry_out(&exchange, sandbox, action).await {
                tracing::warn!(executor.id = %executor, %error, "a sandbox is in trouble");
                this.state().trouble.insert(executor, error.to_string());
            }
            this.state().busy.remove(&executor);
            this.tick();
            this.wanted.notify_one();
        });
    }

    async fn carry_out(&self, exchange: &Exchange, sandbox: Sandbox, action: Action) -> Result<(), Trouble> {
        let executor = sandbox.executor;
        match action {
            Action::Wait => Ok(()),
            Action::Create => self.create(sandbox).await,
            Action::Start => Ok(self.provisioner.start(executor).await?),
            Action::Pause => self.pause(sandbox).await,
            Action::Stop => match self.uses.begin_stop(executor) {
                true => self.stop(executor).await,
                false => Ok(()),
            },
            Action::Mark(state) => self.mark(&sandbox, &state).await.map(|_| ()),
            Action::Clean => self.clean(exchange, &sandbox).await,
            Action::Forget => {
                self.clean(exchange, &sandbox).await?;
                self.uses.forget(executor);
                Ok(self.store.forget(executor).await?)
            }
        }
    }

    async fn mark(&self, sandbox: &Sandbox, state: &SandboxState) -> Result<bool, Trouble> {
        let changed = self.store.change(sandbox.executor, sandbox.revision, state).await?;
        if changed.is_some() {
            tracing::info!(executor.id = %sandbox.executor, session.id = %sandbox.key.session, from = ?sandbox.state, to = ?state, "sandbox");
        }
        Ok(changed.is_some())
    }

    /// What cannot be made has failed, and says why.
    async fn create(&self, sandbox: Sandbox) -> Result<(), Trouble> {
        let code = match self
            .registry
            .mint_code(sandbox.key.workspace, sandbox.executor.uuid())
            .await
        {
            Ok(minted) => minted.code,
            // Its plaintext went with the process that made it. Whoever wants a sandbox gets another one.
            Err(CodeError::Exists(_)) => return self.mark(&sandbox, &SandboxState::Gone).await.map(|_| ()),
            Err(CodeError::Store(error)) => return Err(error.into()),
        };
        if let Err(error) = self.doors.open(sandbox.executor) {
            let reason = format!("its socket cannot be made: {error}");
            return self.mark(&sandbox, &SandboxState::Failed { reason }).await.map(|_| ());
        }
        let boot = Boot {
            executor: sandbox.executor,
            key: sandbox.key,
            spec: sandbox.spec.clone(),
            code,
        };
        if let Err(error) = self.provisioner.create(&boot).await {
            let reason = error.to_string();
            self.mark(&sandbox, &SandboxState::Failed { reason }).await?;
        }
        Ok(())
    }

    /// Noted first: a process that dies in between leaves one that is to be stopped.
    async fn pause(&self, sandbox: Sandbox) -> Result<(), Trouble> {
        if !self.uses.begin_stop(sandbox.executor) {
            return Ok(());
        }
        match self.mark(&sandbox, &SandboxState::Paused).await {
            Ok(true) => self.stop(sandbox.executor).await,
            other => {
                self.uses.end_stop(sandbox.executor);
                other.map(|_| ())
            }
        }
    }

    async fn stop(&self, executor: ExecutorId) -> Result<(), Trouble> {
        let stopped = self.provisioner.stop(executor).await;
        self.uses.end_stop(executor);
        Ok(stopped?)
    }

    /// Nothing is left of it but its row. Its token opens nothing any more, before anything else.
    async fn clean(&self, exchange: &Exchange, sandbox: &Sandbox) -> Result<(), Trouble> {
        let executor = sandbox.executor;
        self.registry.remove(sandbox.key.workspace, executor).await?;
        if let Some(link) = exchange.live(executor) {
            link.cut();
        }
        self.provisioner.remove(executor).await?;
        self.doors.close(executor);
        Ok(())
    }

    /// Ours by its label, and nobody knows it any more: its row was forgotten, or the database is another one.
    fn leftover(self: &Arc<Self>, executor: ExecutorId) {
        if !self.state().busy.insert(executor) {
            return;
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            tracing::info!(executor.id = %executor, "a leftover sandbox is removed");
            if let Err(error) = this.provisioner.remove(executor).await {
                tracing::warn!(executor.id = %executor, %error, "a leftover sandbox cannot be removed");
            }
            this.doors.close(executor);
            this.state().busy.remove(&executor);
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
