//! The port's methods, each handed to the file that owns its table.

use async_trait::async_trait;
use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::agent::Agent;
use perennial_schema::environment::Environment;
use perennial_schema::{AgentId, EnvironmentId, KeyId, Timestamp, WorkspaceId};

use super::{SqliteAccounts, begin, commit, recall, remember, store};
use crate::accounts::{Accounts, AccountsError, ApiKey, Earlier, Ensured, Listing, Made, Secret};

#[async_trait]
impl Accounts for SqliteAccounts {
    async fn ping(&self) -> Result<(), StoreError> {
        self.answers().await
    }

    async fn ensure_workspace_and_key(&self, known: Option<&Secret>, at: Timestamp) -> Result<Ensured, StoreError> {
        self.ensure(known.cloned(), at).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.find_key(id).await
    }

    async fn create_agent(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.add_agent(workspace, agent, idempotency).await
    }

    async fn agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        version: Option<u64>,
    ) -> Result<Option<Agent>, StoreError> {
        self.find_agent(workspace, id, version).await
    }

    async fn put_agent_version(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.add_agent_version(workspace, agent, idempotency).await
    }

    async fn recalled(
        &self,
        workspace: WorkspaceId,
        idempotency: &Idempotency,
        at: Timestamp,
    ) -> Result<Option<Earlier>, AccountsError> {
        let idempotency = idempotency.clone();
        self.run(move |pool| async move {
            let mut connection = pool.acquire().await.map_err(store)?;
            recall(&mut connection, workspace, &idempotency, at).await
        })
        .await
    }

    async fn remember(
        &self,
        workspace: WorkspaceId,
        idempotency: Idempotency,
        made: Earlier,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.run(move |pool| async move {
            let mut transaction = begin(&pool).await?;
            remember(&mut transaction, workspace, Some(&idempotency), &made, at).await?;
            commit(transaction).await
        })
        .await
    }

    async fn archive_agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Agent>, AccountsError> {
        self.archive(workspace, id, at, idempotency).await
    }

    async fn agents(&self, workspace: WorkspaceId, listing: Listing<AgentId>) -> Result<Vec<Agent>, StoreError> {
        self.list_agents(workspace, listing).await
    }

    async fn agent_versions(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Agent>, StoreError> {
        self.list_versions(workspace, id, before, limit).await
    }

    async fn create_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Environment>, AccountsError> {
        self.add_environment(workspace, environment, idempotency).await
    }

    async fn environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        self.find_environment(workspace, id).await
    }

    async fn put_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Environment>, AccountsError> {
        self.replace_environment(workspace, environment, idempotency).await
    }

    async fn delete_environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<bool, StoreError> {
        self.remove_environment(workspace, id).await
    }

    async fn environments(
        &self,
        workspace: WorkspaceId,
        listing: Listing<EnvironmentId>,
    ) -> Result<Vec<Environment>, StoreError> {
        self.list_environments(workspace, listing).await
    }
}
