//! What calls and sessions of this process want of sandboxes, wherever those are made: an executor to be placed with, one to be
//! awake, an end. What is wanted is written to the store; whoever makes sandboxes reads it there, and is nudged over the bus. If that
//! is lost, both look now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perennial_engine::ports::{
    Bus, Executor, ExecutorKind, Executors, NewExecutor, NewSandbox, RegisterError, SANDBOX_HOSTS, Sandbox,
    SandboxHosts, SandboxState, Sandboxes, SessionKey, StoreError,
};
use perennial_schema::environment::Container;
use perennial_schema::{ExecutorCode, ExecutorId, ExecutorToken, OwnerId, SessionId, WorkspaceId};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hosts::{Hosts, NO_HOST, Verdict};
use super::spec::describe;
use super::uses::{InUse, QUIET, Uses};
use crate::exchange::Exchange;
use crate::limits;
use crate::link::Link;

/// How a call waits for its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until it is there, or something is wrong.
    ToCall,
    /// A call may run there: what is wrong for the moment is waited out, a bounded time.
    ToSettle,
}

/// Why there is no sandbox.
enum Over {
    /// It was removed.
    Gone,
    Told(String),
}

impl From<Over> for String {
    fn from(over: Over) -> Self {
        match over {
            Over::Gone => "its sandbox was removed".into(),
            Over::Told(why) => why,
        }
    }
}

impl From<StoreError> for Over {
    fn from(error: StoreError) -> Self {
        Self::Told(error.to_string())
    }
}

/// The sandboxes that this process uses.
pub struct Claims {
    store: Arc<dyn Sandboxes>,
    registry: Arc<dyn Executors>,
    bus: Arc<dyn Bus>,
    hosts: Hosts,
    /// This process.
    me: OwnerId,
    uses: Uses,
    closing: CancellationToken,
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Claims {
    /// Over these ports. `me` is an id that no other process has at the same time.
    #[must_use]
    pub fn new(
        (store, hosts): (Arc<dyn Sandboxes>, Arc<dyn SandboxHosts>),
        registry: Arc<dyn Executors>,
        bus: Arc<dyn Bus>,
        me: OwnerId,
    ) -> Self {
        Self {
            store,
            registry,
            bus,
            hosts: Hosts::new(hosts),
            me,
            uses: Uses::default(),
            closing: CancellationToken::new(),
        }
    }

    /// Learns who makes sandboxes, unless that was a moment ago.
    pub async fn refresh(&self) {
        self.hosts.refresh().await;
    }

    /// Whether somebody makes sandboxes of this kind, as far as is known. One of a named image is never a folder instead.
    pub(super) fn are_made(&self, container: &Container) -> bool {
        container.image.is_some() || self.hosts.any()
    }

    /// What a sandbox is, in a line.
    pub(crate) fn describe(&self, container: &Container) -> String {
        describe(container, self.hosts.defaults().as_ref())
    }

    /// Says what is used, again and again, until it is closed. Then the store is told what is not used any more; what is may be
    /// used on by whoever comes next.
    pub async fn keep(&self) {
        loop {
            let open = self.closing.run_until_cancelled(async {
                self.uses.any().await;
                sleep(limits::USE_LOOK).await;
            });
            if open.await.is_none() {
                break;
            }
            self.say(QUIET).await;
        }
        if timeout(limits::SANDBOX_CLOSE, self.say(Duration::ZERO)).await.is_err() {
            tracing::warn!("sandboxes that are not used count as used for a while");
        }
    }

    /// Whoever waits for a sandbox is told that the server stops.
    pub fn close(&self) {
        self.closing.cancel();
    }

    async fn say(&self, quiet: Duration) {
        let due = self.uses.due(quiet);
        if !due.hold.is_empty() {
            let at = Instant::now();
            match self.store.hold_all(&due.hold, self.me).await {
                Ok(held) => self.uses.renewed(at, &held),
                Err(error) => tracing::warn!(%error, "that sandboxes are used cannot be noted now"),
            }
        }
        for (executor, until, unused) in due.release {
            if let Err(error) = self.store.release(executor, self.me, until, unused).await {
                tracing::warn!(executor.id = %executor, %error, "a sandbox counts as used for a while");
            }
        }
    }

    /// The executor in a session's sandbox, which is made if there is none.
    pub(super) async fn place(
        &self,
        exchange: &Exchange,
        key: SessionKey,
        container: &Container,
    ) -> Result<Arc<Link>, String> {
        if !self.hosts.any() {
            // Perhaps since a moment ago.
            self.hosts.ask().await;
        }
        if !self.hosts.any() {
            return Err(NO_HOST.into());
        }
        let mut again = true;
        loop {
            let (executor, at) = (ExecutorId::from_uuid(Uuid::now_v7()), Instant::now());
            let new = NewSandbox {
                executor,
                key,
                container: container.clone(),
                by: self.me,
            };
            let sandbox = self.store.want(new).await.map_err(|error| error.to_string())?;
            let _in_use = self.uses.enter(sandbox.executor);
            if sandbox.executor == executor {
                self.uses.said(at, &sandbox);
            }
            let who = (sandbox.executor, key.workspace);
            match self.awake(exchange, who, Patience::ToCall).await {
                Ok(link) => return Ok(link),
                // The one it had was removed: it gets another one.
                Err(Over::Gone) if std::mem::take(&mut again) => {}
                Err(over) => return Err(over.into()),
            }
        }
    }

    /// The same if it is there already. A call that is sent to one that is paused meanwhile starts it again.
    pub(super) async fn place_at_once(&self, exchange: &Exchange, key: SessionKey) -> Option<Arc<Link>> {
        let sandbox = self.store.live(key).await.ok().flatten()?;
        exchange
            .live(sandbox.executor)
            .filter(|link| link.serves(key.workspace))
    }

    /// The executor of a sandbox, awake, and not paused as long as the use lives. None when it is no sandbox's of the workspace.
    pub(super) async fn reach(
        &self,
        exchange: &Exchange,
        (executor, workspace): (ExecutorId, WorkspaceId),
        patience: Patience,
    ) -> Option<(Result<Arc<Link>, String>, InUse)> {
        let link = exchange.live(executor);
        if link
            .as_ref()
            .is_some_and(|link| !link.is_sandbox() || !link.serves(workspace))
        {
            return None;
        }
        let in_use = self.uses.enter(executor);
        if let Some(link) = link.filter(|_| self.uses.is_steady(executor)) {
            return Some((Ok(link), in_use));
        }
        match self.held(executor, workspace).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                drop(in_use);
                self.uses.forget(executor);
                return None;
            }
            Err(error) => return Some((Err(error.to_string()), in_use)),
        }
        let awake = self.awake(exchange, (executor, workspace), patience).await;
        Some((awake.map_err(String::from), in_use))
    }

    /// How a sandbox is, after the store was told that it is used.
    async fn held(&self, executor: ExecutorId, workspace: WorkspaceId) -> Result<Option<Sandbox>, StoreError> {
        if self.uses.is_said(executor) {
            let sandbox = self.store.sandbox(executor).await?;
            let sandbox = sandbox.filter(|sandbox| sandbox.key.workspace == workspace);
            if let Some(sandbox) = &sandbox {
                self.uses.seen(sandbox);
            }
            return Ok(sandbox);
        }
        let at = Instant::now();
        let sandbox = self.store.hold(workspace, executor, self.me).await?;
        if let Some(sandbox) = &sandbox {
            self.uses.said(at, sandbox);
        }
        Ok(sandbox)
    }

    /// Waits until the executor of a sandbox is on the line. Whoever waits uses it, which is what has it made or started.
    async fn awake(
        &self,
        exchange: &Exchange,
        (executor, workspace): (ExecutorId, WorkspaceId),
        patience: Patience,
    ) -> Result<Arc<Link>, Over> {
        let (mut nudges, mut attached) = (self.bus.nudges(executor), exchange.attachments());
        let (began, mut troubles) = (Instant::now(), None);
        let waiting = async {
            loop {
                attached.borrow_and_update();
                let sandbox = self.held(executor, workspace).await?.ok_or(Over::Gone)?;
                match &sandbox.state {
                    SandboxState::Gone => return Err(Over::Gone),
                    SandboxState::Failed { reason } => return Err(Over::Told(format!("its sandbox {reason}"))),
                    SandboxState::Provisioning | SandboxState::Ready => {
                        if let Some(link) = exchange.line_now(executor, workspace).await {
                            return Ok(link);
                        }
                        // It runs, and this process does not get there: nothing that is waited for mends that.
                        if began.elapsed() >= limits::HOSTS_WAIT
                            && patience == Patience::ToCall
                            && let Some(why) = exchange.trunk_trouble(executor)
                        {
                            return Err(Over::Told(format!("its sandbox is not reached from here: {why}")));
                        }
                    }
                    // What is being stopped may be on the line still.
                    SandboxState::Paused => {}
                }
                let before = *troubles.get_or_insert(sandbox.troubles);
                if sandbox.troubles > before && patience == Patience::ToCall {
                    let trouble = sandbox.trouble.as_deref().unwrap_or_default();
                    return Err(Over::Told(format!("its sandbox cannot be reached now: {trouble}")));
                }
                self.judge(&sandbox, patience, began).await?;
                self.bus.nudge(SANDBOX_HOSTS);
                tokio::select! {
                    () = nudges.next() => {}
                    _ = attached.changed() => {}
                    () = sleep(limits::SANDBOX_LOOK) => {}
                    () = self.closing.cancelled() => return Err(Over::Told("the server is stopping".into())),
                }
            }
        };
        let most = match patience {
            Patience::ToCall => limits::SANDBOX_WAIT,
            Patience::ToSettle => limits::GUEST_WAIT,
        };
        match timeout(most, waiting).await {
            Ok(ended) => ended,
            Err(_) => Err(Over::Told(format!(
                "its sandbox is not there after {} s",
                most.as_secs()
            ))),
        }
    }

    /// Whether to wait on, by what is known of who makes it. One that nobody will make or bring back has failed: the next call gets
    /// another one.
    async fn judge(&self, sandbox: &Sandbox, patience: Patience, began: Instant) -> Result<(), Over> {
        let (executor, revision) = (sandbox.executor, sandbox.revision);
        let (why, changed) = match self.hosts.verdict(sandbox, patience, began.elapsed()).await {
            Verdict::Wait => return Ok(()),
            Verdict::NotNow(why) => return Err(Over::Told(format!("its sandbox {why}"))),
            Verdict::Failed(reason) => {
                let failed = SandboxState::Failed { reason: reason.clone() };
                (reason, self.store.change(executor, revision, &failed).await?)
            }
            Verdict::Lost(reason) => {
                let changed = self.store.give_up(executor, revision, &reason).await?;
                (reason, changed)
            }
        };
        if changed.is_none() {
            // It is otherwise than it was a moment ago.
            return Ok(());
        }
        tracing::warn!(executor.id = %executor, session.id = %sandbox.key.session, why, "a sandbox is given up");
        self.bus.nudge(executor);
        Err(Over::Told(format!("its sandbox {why}")))
    }

    /// Whether a session has one; when nobody can say, as if it had.
    pub(super) async fn has(&self, session: SessionId) -> bool {
        self.store.houses(session).await.unwrap_or(true)
    }

    /// A session is over.
    pub(super) async fn retire(&self, session: SessionId) {
        match self.store.retire(session).await {
            Ok(None) => {}
            Ok(Some(executor)) => self.tell(executor),
            Err(error) => {
                tracing::error!(session.id = %session, %error, "the sandbox of a deleted session is left behind");
            }
        }
    }

    /// An executor was removed. If it was a sandbox's, that one is gone.
    pub(super) async fn removed(&self, executor: ExecutorId) -> Result<(), StoreError> {
        let known = self.store.sandbox(executor).await?;
        if let Some(sandbox) = known.filter(|sandbox| sandbox.state.is_live()) {
            self.store
                .change(executor, sandbox.revision, &SandboxState::Gone)
                .await?;
            self.tell(executor);
        }
        Ok(())
    }

    /// Whoever made a sandbox, and whoever waits for it.
    fn tell(&self, executor: ExecutorId) {
        self.bus.nudge(SANDBOX_HOSTS);
        self.bus.nudge(executor);
    }

    /// The executor of a sandbox that dials home for the first time, if the code is the one it was made with. The code is used up.
    pub(super) async fn register(
        &self,
        token: &ExecutorToken,
        code: &ExecutorCode,
    ) -> Result<Option<Executor>, StoreError> {
        let Some(sandbox) = self.store.sandbox(token.id).await? else {
            return Ok(None);
        };
        let minted = self.registry.code(sandbox.key.workspace, token.id.uuid()).await?;
        if !sandbox.state.is_live() || minted.is_none_or(|minted| minted.hash != code.hash()) {
            return Ok(None);
        }
        let new = NewExecutor {
            id: token.id,
            name: format!("sandbox of {}", sandbox.key.session),
            kind: ExecutorKind::Sandbox,
            hash: token.hash(),
        };
        match self.registry.register(code.hash(), new).await {
            Ok(executor) => Ok(Some(executor)),
            Err(RegisterError::NoSuchCode) => Ok(None),
            Err(RegisterError::Store(error)) => Err(error),
        }
    }
}
