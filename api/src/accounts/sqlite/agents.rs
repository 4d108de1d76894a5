//! Agents and their versions. A version is never changed; `agents.version` names the newest.

use indexmap::IndexMap;
use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::agent::{Agent, AgentSnapshot};
use perennial_schema::{AgentId, Timestamp, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{SqliteAccounts, Window, begin, commit, decode, encode, number, recall, remember, store};
use crate::accounts::{AccountsError, Earlier, Listing, Made};

const ADD: &str = "INSERT INTO agents (workspace_id, id, version, created_at) VALUES (?1, ?2, ?3, ?4)";
const ADD_VERSION: &str = "INSERT INTO agent_versions (workspace_id, agent_id, version, definition, metadata, created_at) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const BUMP: &str = "UPDATE agents SET version = ?3 WHERE workspace_id = ?1 AND id = ?2 AND version = ?4 \
                    AND archived_at IS NULL";
const ARCHIVE: &str = "UPDATE agents SET archived_at = coalesce(archived_at, ?3) WHERE workspace_id = ?1 AND id = ?2";
const GET: &str = "SELECT a.id, a.created_at, a.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                   FROM agents a JOIN agent_versions v ON v.workspace_id = a.workspace_id AND v.agent_id = a.id \
                   WHERE a.workspace_id = ?1 AND a.id = ?2 AND v.version = coalesce(?3, a.version)";
const VERSIONS: &str = "SELECT a.id, a.created_at, a.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                        FROM agents a JOIN agent_versions v ON v.workspace_id = a.workspace_id AND v.agent_id = a.id \
                        WHERE a.workspace_id = ?1 AND a.id = ?2 AND v.version < ?3 ORDER BY v.version DESC LIMIT ?4";
const LIST: &str = "SELECT a.id, a.created_at, a.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                    FROM agents a JOIN agent_versions v \
                    ON v.workspace_id = a.workspace_id AND v.agent_id = a.id AND v.version = a.version \
                    WHERE a.workspace_id = ?1 AND (?2 OR a.archived_at IS NULL) \
                    AND a.created_at > ?3 AND a.created_at >= ?4 AND a.created_at < ?5 AND a.created_at <= ?6 \
                    AND (a.created_at < ?7 OR (a.created_at = ?7 AND a.id < ?8)) \
                    ORDER BY a.created_at DESC, a.id DESC LIMIT ?9";

impl SqliteAccounts {
    pub(super) async fn add_agent(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.run(move |pool| async move { add(&pool, workspace, agent, idempotency).await })
            .await
    }

    pub(super) async fn add_agent_version(
        &self,
        workspace: WorkspaceId,
        agent: Agent,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Agent>, AccountsError> {
        self.run(move |pool| async move { add_version(&pool, workspace, agent, idempotency).await })
            .await
    }

    pub(super) async fn find_agent(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        version: Option<u64>,
    ) -> Result<Option<Agent>, StoreError> {
        self.run(move |pool| async move {
            let mut connection = pool.acquire().await.map_err(store)?;
            get(&mut connection, workspace, id, version).await
        })
        .await
    }

    pub(super) async fn archive(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        at: Timestamp,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Agent>, AccountsError> {
        self.run(move |pool| async move {
            let mut transaction = begin(&pool).await?;
            if let Some(agent) = earlier(&mut transaction, workspace, idempotency.as_ref(), at).await? {
                return Ok(Some(agent));
            }
            sqlx::query(ARCHIVE)
                .bind(workspace.to_string())
                .bind(id.to_string())
                .bind(at.micros())
                .execute(&mut *transaction)
                .await
                .map_err(store)?;
            let agent = get(&mut transaction, workspace, id, None).await?;
            if let Some(agent) = &agent {
                remember(&mut transaction, workspace, idempotency.as_ref(), &made(agent), at).await?;
            }
            commit(transaction).await?;
            Ok(agent)
        })
        .await
    }

    pub(super) async fn list_agents(
        &self,
        workspace: WorkspaceId,
        listing: Listing<AgentId>,
    ) -> Result<Vec<Agent>, StoreError> {
        self.run(move |pool| async move {
            let window = Window::of(&listing);
            let rows = sqlx::query(LIST)
                .bind(workspace.to_string())
                .bind(listing.include_archived)
                .bind(window.gt)
                .bind(window.gte)
                .bind(window.lt)
                .bind(window.lte)
                .bind(window.cursor_at)
                .bind(window.cursor_id)
                .bind(listing.limit)
                .fetch_all(&pool)
                .await
                .map_err(store)?;
            rows.iter().map(read).collect()
        })
        .await
    }

    pub(super) async fn list_versions(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Agent>, StoreError> {
        self.run(move |pool| async move {
            let rows = sqlx::query(VERSIONS)
                .bind(workspace.to_string())
                .bind(id.to_string())
                .bind(before.map_or(i64::MAX, number))
                .bind(limit)
                .fetch_all(&pool)
                .await
                .map_err(store)?;
            rows.iter().map(read).collect()
        })
        .await
    }
}

async fn add(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    agent: Agent,
    idempotency: Option<Idempotency>,
) -> Result<Made<Agent>, AccountsError> {
    let mut transaction = begin(pool).await?;
    let at = agent.created_at;
    if let Some(resource) = earlier(&mut transaction, workspace, idempotency.as_ref(), at).await? {
        return Ok(Made {
            resource,
            replayed: true,
        });
    }
    sqlx::query(ADD)
        .bind(workspace.to_string())
        .bind(agent.snapshot.id.to_string())
        .bind(number(agent.snapshot.version))
        .bind(at.micros())
        .execute(&mut *transaction)
        .await
        .map_err(store)?;
    finish(transaction, workspace, agent, idempotency).await
}

async fn add_version(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    agent: Agent,
    idempotency: Option<Idempotency>,
) -> Result<Made<Agent>, AccountsError> {
    let mut transaction = begin(pool).await?;
    if let Some(resource) = earlier(&mut transaction, workspace, idempotency.as_ref(), agent.updated_at).await? {
        return Ok(Made {
            resource,
            replayed: true,
        });
    }
    let version = agent.snapshot.version;
    let moved = sqlx::query(BUMP)
        .bind(workspace.to_string())
        .bind(agent.snapshot.id.to_string())
        .bind(number(version))
        .bind(number(version.saturating_sub(1)))
        .execute(&mut *transaction)
        .await
        .map_err(store)?;
    if moved.rows_affected() == 0 {
        return Err(AccountsError::VersionMoved);
    }
    finish(transaction, workspace, agent, idempotency).await
}

/// Stores the version and what is to be remembered, and commits.
async fn finish(
    mut transaction: sqlx::Transaction<'static, sqlx::Sqlite>,
    workspace: WorkspaceId,
    agent: Agent,
    idempotency: Option<Idempotency>,
) -> Result<Made<Agent>, AccountsError> {
    sqlx::query(ADD_VERSION)
        .bind(workspace.to_string())
        .bind(agent.snapshot.id.to_string())
        .bind(number(agent.snapshot.version))
        .bind(encode(&agent.snapshot)?)
        .bind(encode(&agent.metadata)?)
        .bind(agent.updated_at.micros())
        .execute(&mut *transaction)
        .await
        .map_err(store)?;
    remember(
        &mut transaction,
        workspace,
        idempotency.as_ref(),
        &made(&agent),
        agent.updated_at,
    )
    .await?;
    commit(transaction).await?;
    Ok(Made {
        resource: agent,
        replayed: false,
    })
}

fn made(agent: &Agent) -> Earlier {
    Earlier::agent(agent.snapshot.id, agent.snapshot.version)
}

async fn earlier(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    idempotency: Option<&Idempotency>,
    at: Timestamp,
) -> Result<Option<Agent>, AccountsError> {
    let Some(idempotency) = idempotency else {
        return Ok(None);
    };
    let Some(earlier) = recall(&mut *connection, workspace, idempotency, at).await? else {
        return Ok(None);
    };
    let Ok(id) = earlier.resource_id.parse() else {
        return Ok(None);
    };
    Ok(get(connection, workspace, id, Some(earlier.version)).await?)
}

async fn get(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    id: AgentId,
    version: Option<u64>,
) -> Result<Option<Agent>, StoreError> {
    let row = sqlx::query(GET)
        .bind(workspace.to_string())
        .bind(id.to_string())
        .bind(version.map(number))
        .fetch_optional(connection)
        .await
        .map_err(store)?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Agent, StoreError> {
    let id: &str = row.get("id");
    let snapshot: AgentSnapshot = decode("agent_versions", id, row.get("definition"))?;
    let metadata: IndexMap<String, String> = decode("agent_versions", id, row.get("metadata"))?;
    Ok(Agent {
        snapshot,
        metadata,
        created_at: Timestamp::from_micros(row.get("created_at")),
        updated_at: Timestamp::from_micros(row.get("updated_at")),
        archived_at: row.get::<Option<i64>, _>("archived_at").map(Timestamp::from_micros),
    })
}
