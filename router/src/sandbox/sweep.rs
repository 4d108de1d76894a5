//! Now and then: what should be over is, and what is nobody's is forgotten.

use std::sync::Arc;

use perennial_engine::ports::{Bus, Executors, SANDBOX_HOSTS, SandboxState, Sandboxes, Sessions, StoreError};
use perennial_schema::ExecutorId;
use tokio::time::sleep;

use crate::limits;

/// Looks for what others did not finish.
pub(super) struct Sweep {
    pub(super) store: Arc<dyn Sandboxes>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) registry: Arc<dyn Executors>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) instance: ExecutorId,
}

impl Sweep {
    pub(super) async fn run(&self) {
        loop {
            let swept = async {
                self.retire().await?;
                self.forget().await
            };
            if let Err(error) = swept.await {
                tracing::warn!(%error, "sandboxes that are over are not looked for now");
            }
            sleep(limits::SANDBOXES_SWEEP).await;
        }
    }

    /// Whoever deletes a session says that its sandbox is over, unless it dies before.
    async fn retire(&self) -> Result<(), StoreError> {
        let known = self.store.of_instance(self.instance).await?;
        for sandbox in known.into_iter().filter(|sandbox| sandbox.state.is_live()) {
            let session = self.sessions.get(sandbox.key).await?;
            if session.is_none_or(|session| session.deleted_at.is_some()) {
                tracing::info!(executor.id = %sandbox.executor, session.id = %sandbox.key.session, "the sandbox of a deleted session");
                let gone = SandboxState::Gone;
                self.store.change(sandbox.executor, sandbox.revision, &gone).await?;
                self.bus.nudge(SANDBOX_HOSTS);
            }
        }
        Ok(())
    }

    /// What is over and belongs to a host that is lost is nobody's, and its executor with it.
    async fn forget(&self) -> Result<(), StoreError> {
        for left in self.store.abandoned().await? {
            self.registry.remove(left.key.workspace, left.executor).await?;
            self.store.forget(left.executor).await?;
        }
        Ok(())
    }
}
