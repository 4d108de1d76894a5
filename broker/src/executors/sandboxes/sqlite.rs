//! Sandboxes in the embedded database: changes are members of the one writer's transactions.

use async_trait::async_trait;
use perennial_engine::ports::{NewSandbox, Sandbox, SandboxState, Sandboxes, SessionKey, StoreError};
use perennial_schema::{ExecutorId, SessionId};

use super::words;
use crate::executors::Sqlite;
use crate::sql::vanished;

#[async_trait]
impl Sandboxes for Sqlite {
    async fn claim(&self, new: NewSandbox) -> Result<Sandbox, StoreError> {
        self.change(vec![words::claim(&new)?]).await?;
        // Its own, or the one it met; that one may have ended in between.
        self.live(new.key).await?.ok_or_else(vanished)
    }

    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError> {
        let rows = self.rows(words::live(key)).await?;
        rows.first().map(words::sandbox_of).transpose()
    }

    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError> {
        let rows = self.rows(words::sandbox(executor)).await?;
        rows.first().map(words::sandbox_of).transpose()
    }

    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError> {
        let rows = self.rows(words::of_instance(instance)).await?;
        rows.iter().map(words::sandbox_of).collect()
    }

    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError> {
        let rows = self.change(vec![words::change(executor, revision, state)]).await?;
        rows.first().map(words::sandbox_of).transpose()
    }

    async fn retire(&self, session: SessionId) -> Result<bool, StoreError> {
        let rows = self.change(vec![words::retire(session)]).await?;
        Ok(!rows.is_empty())
    }

    async fn forget(&self, executor: ExecutorId) -> Result<(), StoreError> {
        self.change(vec![words::forget(executor)]).await?;
        Ok(())
    }
}
