//! What is done to a sandbox, and noted: each is safe to be cut off anywhere, and to be done again.

use std::sync::Arc;

use perennial_engine::ports::{Boot, CodeError, Sandbox, SandboxState};
use perennial_schema::ExecutorId;

use super::{Reconciler, Trouble};
use crate::exchange::Exchange;
use crate::sandbox::decide::Action;
use crate::sandbox::spec::fill;

impl Reconciler {
    pub(super) async fn in_trouble(&self, executor: ExecutorId, trouble: &Trouble) {
        tracing::warn!(executor.id = %executor, error = %trouble, "a sandbox is in trouble");
        if let Err(error) = self.store.trouble(executor, &trouble.to_string()).await {
            tracing::warn!(executor.id = %executor, %error, "what troubles a sandbox is not noted");
        }
        self.bus.nudge(executor);
    }

    pub(super) async fn carry_out(&self, exchange: &Exchange, sandbox: Sandbox, action: Action) -> Result<(), Trouble> {
        let executor = sandbox.executor;
        match action {
            Action::Wait => Ok(()),
            Action::Create => self.create(sandbox).await,
            Action::Start => Ok(self.provisioner.start(executor).await?),
            Action::Pause => self.pause(sandbox).await,
            Action::Stop => Ok(self.provisioner.stop(executor).await?),
            Action::Mark(state) => self.mark(&sandbox, &state).await.map(|_| ()),
            Action::Clean => self.clean(exchange, &sandbox).await,
            Action::Forget => {
                self.clean(exchange, &sandbox).await?;
                Ok(self.store.forget(executor).await?)
            }
        }
    }

    async fn mark(&self, sandbox: &Sandbox, state: &SandboxState) -> Result<bool, Trouble> {
        let changed = self.store.change(sandbox.executor, sandbox.revision, state).await?;
        Ok(self.marked(sandbox, changed.as_ref()))
    }

    /// Whether it is so now; whoever waits for it looks.
    fn marked(&self, sandbox: &Sandbox, changed: Option<&Sandbox>) -> bool {
        if let Some(changed) = changed {
            tracing::info!(executor.id = %sandbox.executor, session.id = %sandbox.key.session, from = ?sandbox.state, to = ?changed.state, "sandbox");
            self.bus.nudge(sandbox.executor);
        }
        changed.is_some()
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
            let reason = format!("could not be made: its socket cannot be made: {error}");
            return self.mark(&sandbox, &SandboxState::Failed { reason }).await.map(|_| ());
        }
        let boot = Boot {
            executor: sandbox.executor,
            key: sandbox.key,
            spec: fill(&sandbox.container, &self.defaults),
            code,
        };
        if let Err(error) = self.provisioner.create(&boot).await {
            let reason = format!("could not be made: {error}");
            self.mark(&sandbox, &SandboxState::Failed { reason }).await?;
        }
        Ok(())
    }

    /// Noted first, and only if nobody uses it by then: a process that dies in between leaves one that is to be stopped.
    async fn pause(&self, sandbox: Sandbox) -> Result<(), Trouble> {
        let (executor, idle) = (sandbox.executor, self.idle(&sandbox));
        let paused = self.store.pause(executor, sandbox.revision, idle).await?;
        if self.marked(&sandbox, paused.as_ref()) {
            self.provisioner.stop(executor).await?;
        }
        Ok(())
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
    pub(super) fn leftover(self: &Arc<Self>, executor: ExecutorId) {
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
