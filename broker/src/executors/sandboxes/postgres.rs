//! Sandboxes in the shared database: every change is one statement that commits by itself and may be said twice.

use std::time::Duration;

use async_trait::async_trait;
use perennial_engine::ports::{NewSandbox, Sandbox, SandboxState, Sandboxes, SessionKey, StoreError};
use perennial_schema::{ExecutorId, OwnerId, SessionId, Timestamp, WorkspaceId};

use super::words;
use crate::executors::Postgres;
use crate::sql::{Columns, vanished};

fn first(rows: &[impl Columns]) -> Result<Option<Sandbox>, StoreError> {
    rows.first().map(words::sandbox_of).transpose()
}

fn all(rows: &[impl Columns]) -> Result<Vec<Sandbox>, StoreError> {
    rows.iter().map(words::sandbox_of).collect()
}

#[async_trait]
impl Sandboxes for Postgres {
    async fn want(&self, new: NewSandbox) -> Result<Sandbox, StoreError> {
        self.rows(words::want(&new)?).await?;
        // Its own, or the one it met; that one may have ended in between.
        self.live(new.key).await?.ok_or_else(vanished)
    }

    async fn hold(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        by: OwnerId,
    ) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::hold(workspace, executor, by)).await?)
    }

    async fn hold_all(
        &self,
        executors: &[ExecutorId],
        by: OwnerId,
    ) -> Result<Vec<(ExecutorId, Timestamp)>, StoreError> {
        let Some(asked) = words::hold_all(executors, by) else {
            return Ok(Vec::new());
        };
        self.rows(asked).await?.iter().map(words::held_until).collect()
    }

    async fn release(
        &self,
        executor: ExecutorId,
        by: OwnerId,
        held: Timestamp,
        unused_for: Duration,
    ) -> Result<(), StoreError> {
        self.rows(words::release(executor, by, held, unused_for)).await?;
        Ok(())
    }

    async fn live(&self, key: SessionKey) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::live(key)).await?)
    }

    async fn houses(&self, session: SessionId) -> Result<bool, StoreError> {
        Ok(!self.rows(words::houses(session)).await?.is_empty())
    }

    async fn sandbox(&self, executor: ExecutorId) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::sandbox(executor)).await?)
    }

    async fn of_instance(&self, instance: ExecutorId) -> Result<Vec<Sandbox>, StoreError> {
        all(&self.rows(words::of_instance(instance)).await?)
    }

    async fn adopt(&self, instance: ExecutorId, limit: u32) -> Result<Vec<Sandbox>, StoreError> {
        all(&self.rows(words::adopt(instance, limit)).await?)
    }

    async fn stirs(&self, instance: ExecutorId) -> Result<bool, StoreError> {
        Ok(!self.rows(words::stirs(instance)).await?.is_empty())
    }

    async fn change(
        &self,
        executor: ExecutorId,
        revision: u64,
        state: &SandboxState,
    ) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::change(executor, revision, state)).await?)
    }

    async fn pause(&self, executor: ExecutorId, revision: u64, idle: Duration) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::pause(executor, revision, idle)).await?)
    }

    async fn trouble(&self, executor: ExecutorId, what: &str) -> Result<(), StoreError> {
        self.rows(words::trouble(executor, what)).await?;
        Ok(())
    }

    async fn give_up(&self, executor: ExecutorId, revision: u64, reason: &str) -> Result<Option<Sandbox>, StoreError> {
        first(&self.rows(words::give_up(executor, revision, reason)).await?)
    }

    async fn retire(&self, session: SessionId) -> Result<Option<ExecutorId>, StoreError> {
        let rows = self.rows(words::retire(session)).await?;
        let retired = rows.first().map(|row| row.id("executor_id")).transpose()?;
        Ok(retired.map(ExecutorId::from_uuid))
    }

    async fn abandoned(&self) -> Result<Vec<Sandbox>, StoreError> {
        all(&self.rows(words::abandoned()).await?)
    }

    async fn forget(&self, executor: ExecutorId) -> Result<(), StoreError> {
        self.rows(words::forget(executor)).await?;
        Ok(())
    }
}
