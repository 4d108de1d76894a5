//! The port's methods, each handed to the file that owns its table.

use async_trait::async_trait;
use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::agent::Agent;
use perennial_schema::environment::Environment;
use perennial_schema::file::File;
use perennial_schema::{AgentId, EnvironmentId, FileId, KeyId, Timestamp, WorkspaceId};

use super::keys::Fresh;
use super::resource::page;
use super::work::Work;
use super::{Dialect, SqlAccounts, agents, environment_keys, environments, files, keys, logins, requests};
use crate::accounts::{Accounts, AccountsError, ApiKey, Earlier, Ensured, EnvironmentKey, Listing, Made, Secret};

#[async_trait]
impl<DB: Dialect> Accounts for SqlAccounts<DB> {
    async fn ping(&self) -> Result<(), StoreError> {
        self.run(keys::answers).await
    }

    async fn ensure_workspace_and_key(&self, known: Option<&Secret>, at: Timestamp) -> Result<Ensured, StoreError> {
        let known = known.cloned();
        self.run(|pool| keys::ensure(pool, known, Fresh::Always, at)).await
    }

    async fn ensure_first_key(&self, known: Option<&Secret>, at: Timestamp) -> Result<Ensured, StoreError> {
        let known = known.cloned();
        self.run(|pool| keys::ensure(pool, known, Fresh::First, at)).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.run(|pool| keys::find(pool, id)).await
    }

    async fn add_login(
        &self,
        workspace: WorkspaceId,
        login: &Secret,
        at: Timestamp,
        expired: Timestamp,
    ) -> Result<(), StoreError> {
        let login = login.clone();
        self.run(move |pool| logins::add(pool, workspace, login, at, expired))
            .await
    }

    async fn login(&self, id: KeyId, expired: Timestamp) -> Result<Option<ApiKey>, StoreError> {
        self.run(move |pool| logins::find(pool, id, expired)).await
    }

    async fn end_login(&self, id: KeyId) -> Result<(), StoreError> {
        self.run(move |pool| logins::end(pool, id)).await
    }

    async fn create_agent(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.run(|pool| agents::create(pool, workspace, agent, idempotency))
            .await
    }

    async fn agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        version: Option<u64>,
    ) -> Result<Option<Agent>, StoreError> {
        self.run(|pool| agents::find(pool, workspace, id, version)).await
    }

    async fn agent_with_mail(&self, workspace: WorkspaceId, name: &str) -> Result<Option<Agent>, StoreError> {
        let name = name.to_owned();
        self.run(|pool| agents::with_mail_named(pool, workspace, name)).await
    }

    async fn agents_with_mail(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<Agent>, StoreError> {
        self.run(move |pool| agents::with_mail(pool, workspace, limit)).await
    }

    async fn put_agent_version(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.run(|pool| agents::put_version(pool, workspace, agent, idempotency))
            .await
    }

    async fn recalled(
        &self,
        workspace: WorkspaceId,
        idempotency: &Idempotency,
        at: Timestamp,
    ) -> Result<Option<Earlier>, AccountsError> {
        let idempotency = idempotency.clone();
        self.run(|pool| async move {
            let mut work = Work::reading(&pool).await?;
            requests::recall(&mut work, workspace, &idempotency, at).await
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
        self.run(|pool| async move {
            let mut work = Work::begin(&pool).await?;
            work.alone(workspace).await?;
            requests::remember(&mut work, workspace, &idempotency, &made, at).await?;
            work.commit().await
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
        self.run(|pool| agents::archive(pool, workspace, id, at, idempotency))
            .await
    }

    async fn agents(&self, workspace: WorkspaceId, listing: Listing<AgentId>) -> Result<Vec<Agent>, StoreError> {
        self.run(|pool| page(pool, workspace, listing)).await
    }

    async fn agent_versions(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Agent>, StoreError> {
        self.run(|pool| agents::versions(pool, workspace, id, before, limit))
            .await
    }

    async fn create_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Environment>, AccountsError> {
        self.run(|pool| environments::create(pool, workspace, environment, idempotency))
            .await
    }

    async fn environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        self.run(|pool| environments::find(pool, workspace, id)).await
    }

    async fn put_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Environment>, AccountsError> {
        self.run(|pool| environments::put(pool, workspace, environment, idempotency))
            .await
    }

    async fn delete_environment(&self, workspace: WorkspaceId, id: EnvironmentId) -> Result<bool, StoreError> {
        self.run(|pool| environments::delete(pool, workspace, id)).await
    }

    async fn environments(
        &self,
        workspace: WorkspaceId,
        listing: Listing<EnvironmentId>,
    ) -> Result<Vec<Environment>, StoreError> {
        self.run(|pool| page(pool, workspace, listing)).await
    }

    async fn add_environment_key(&self, key: &EnvironmentKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.run(|pool| environment_keys::add(pool, key)).await
    }

    async fn environment_key(&self, id: KeyId) -> Result<Option<EnvironmentKey>, StoreError> {
        self.run(move |pool| environment_keys::find(pool, id)).await
    }

    async fn environment_keys(
        &self,
        workspace: WorkspaceId,
        environment: EnvironmentId,
    ) -> Result<Vec<EnvironmentKey>, StoreError> {
        self.run(move |pool| environment_keys::list(pool, workspace, environment))
            .await
    }

    async fn end_environment_key(
        &self,
        workspace: WorkspaceId,
        environment: EnvironmentId,
        id: KeyId,
    ) -> Result<bool, StoreError> {
        self.run(move |pool| environment_keys::end(pool, workspace, environment, id))
            .await
    }

    async fn create_file(
        &self,
        workspace: WorkspaceId,
        file: File,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<File>, AccountsError> {
        self.run(|pool| files::create(pool, workspace, file, idempotency)).await
    }

    async fn file(&self, workspace: WorkspaceId, id: FileId) -> Result<Option<File>, StoreError> {
        self.run(|pool| files::find(pool, workspace, id)).await
    }

    async fn files(&self, workspace: WorkspaceId, listing: Listing<FileId>) -> Result<Vec<File>, StoreError> {
        self.run(|pool| page(pool, workspace, listing)).await
    }

    async fn delete_file(&self, workspace: WorkspaceId, id: FileId) -> Result<bool, StoreError> {
        self.run(|pool| files::delete(pool, workspace, id)).await
    }
}
