//! Hosts of sandboxes in the shared database.

use async_trait::async_trait;
use perennial_engine::ports::{NewSandboxHost, SandboxHost, SandboxHosts, StoreError};
use perennial_schema::ExecutorId;

use super::words;
use crate::executors::Postgres;

#[async_trait]
impl SandboxHosts for Postgres {
    async fn present(&self, host: &NewSandboxHost) -> Result<bool, StoreError> {
        Ok(!self.rows(words::present(host)?).await?.is_empty())
    }

    async fn resign(&self, instance: ExecutorId) -> Result<(), StoreError> {
        self.rows(words::resign(instance)).await?;
        Ok(())
    }

    async fn sandbox_hosts(&self) -> Result<Vec<SandboxHost>, StoreError> {
        let rows = self.rows(words::hosts()).await?;
        rows.iter().map(words::host_of).collect()
    }
}
