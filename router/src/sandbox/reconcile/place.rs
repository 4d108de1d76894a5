//! What calls and sessions want of the reconciler: an executor to be placed with, one to be awake, an end.

use std::sync::Arc;

use perennial_engine::ports::{
    Executor, ExecutorKind, NewExecutor, NewSandbox, RegisterError, SandboxState, SessionKey, StoreError,
};
use perennial_schema::environment::Container;
use perennial_schema::{ExecutorCode, ExecutorId, ExecutorToken, SessionId};
use tokio::time::timeout;
use uuid::Uuid;

use super::Reconciler;
use crate::exchange::Exchange;
use crate::limits;
use crate::link::Link;
use crate::sandbox::uses::InUse;

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

impl Reconciler {
    /// The executor in a session's sandbox, which is made if there is none.
    pub(in crate::sandbox) async fn place(
        self: &Arc<Self>,
        exchange: &Exchange,
        key: SessionKey,
        container: &Container,
    ) -> Result<Arc<Link>, String> {
        let mut again = true;
        loop {
            let new = NewSandbox {
                executor: ExecutorId::from_uuid(Uuid::now_v7()),
                key,
                instance: self.instance,
                spec: self.defaults.fill(container),
            };
            let sandbox = self.store.claim(new).await.map_err(|error| error.to_string())?;
            let _in_use = self.uses.enter(sandbox.executor);
            match self.awake(exchange, sandbox.executor, Patience::ToCall).await {
                Ok(link) => return Ok(link),
                // The one it had was removed: it gets another one.
                Err(Over::Gone) if std::mem::take(&mut again) => {}
                Err(over) => return Err(over.into()),
            }
        }
    }

    /// The same if it is there already. A call that is sent to one that is paused meanwhile starts it again.
    pub(crate) async fn place_at_once(&self, exchange: &Exchange, key: SessionKey) -> Option<Arc<Link>> {
        let sandbox = self.store.live(key).await.ok().flatten()?;
        self.standing(exchange, sandbox.executor)
    }

    /// The executor of a call that was placed in a sandbox. None when it is no sandbox's.
    pub(crate) async fn reach(
        &self,
        exchange: &Exchange,
        executor: ExecutorId,
        patience: Patience,
    ) -> Option<(Result<Arc<Link>, String>, InUse)> {
        if exchange.live(executor).is_some_and(|link| link.guest.is_none()) {
            return None;
        }
        let in_use = self.uses.enter(executor);
        let link = match self.standing(exchange, executor) {
            Some(link) => Ok(link),
            None if matches!(self.store.sandbox(executor).await, Ok(None)) => {
                drop(in_use);
                self.uses.forget(executor);
                return None;
            }
            None => self.awake(exchange, executor, patience).await.map_err(String::from),
        };
        Some((link, in_use))
    }

    /// The executor if it can be called now.
    fn standing(&self, exchange: &Exchange, executor: ExecutorId) -> Option<Arc<Link>> {
        match self.uses.stopping(executor) {
            true => None,
            false => exchange.live(executor),
        }
    }

    /// Waits until the executor of a sandbox is on the line. Whoever waits uses it, which is what starts it.
    async fn awake(&self, exchange: &Exchange, executor: ExecutorId, patience: Patience) -> Result<Arc<Link>, Over> {
        let mut changed = self.changed.subscribe();
        let mut attached = exchange.attachments();
        self.state().trouble.remove(&executor);
        let waiting = async {
            loop {
                changed.borrow_and_update();
                attached.borrow_and_update();
                if let Some(link) = self.standing(exchange, executor) {
                    return Ok(link);
                }
                match self.store.sandbox(executor).await?.map(|sandbox| sandbox.state) {
                    None | Some(SandboxState::Gone) => return Err(Over::Gone),
                    Some(SandboxState::Failed { reason }) => {
                        return Err(Over::Told(format!("its sandbox could not be made: {reason}")));
                    }
                    Some(_) => {}
                }
                let trouble = self.state().trouble.get(&executor).cloned();
                if let Some(trouble) = trouble.filter(|_| patience == Patience::ToCall) {
                    return Err(Over::Told(format!("its sandbox cannot be reached now: {trouble}")));
                }
                self.wanted.notify_one();
                tokio::select! {
                    _ = changed.changed() => {}
                    _ = attached.changed() => {}
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

    /// Whether a session has one; when nobody can say, as if it had.
    pub(in crate::sandbox) async fn has(&self, session: SessionId) -> bool {
        let known = self.store.of_instance(self.instance).await;
        known.map_or(true, |known| {
            known
                .iter()
                .any(|sandbox| sandbox.key.session == session && sandbox.state.is_live())
        })
    }

    /// A session is over.
    pub(in crate::sandbox) async fn retire(&self, session: SessionId) {
        match self.store.retire(session).await {
            Ok(false) => {}
            Ok(true) => {
                self.tick();
                self.wanted.notify_one();
            }
            Err(error) => {
                tracing::error!(session.id = %session, %error, "the sandbox of a deleted session is left behind");
            }
        }
    }

    /// An executor was removed. If it was a sandbox's, that one is gone.
    pub(in crate::sandbox) async fn removed(&self, executor: ExecutorId) -> Result<(), StoreError> {
        let known = self.store.sandbox(executor).await?;
        if let Some(sandbox) = known.filter(|sandbox| sandbox.state.is_live()) {
            self.store
                .change(executor, sandbox.revision, &SandboxState::Gone)
                .await?;
            self.tick();
            self.wanted.notify_one();
        }
        Ok(())
    }

    /// The executor of a sandbox that dials home for the first time, if the code is the one it was made with. The code is used up.
    pub(in crate::sandbox) async fn register(
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
