//! Agents and their versions. A version is never changed; `agents.version` names the newest.

use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::agent::Agent;
use perennial_schema::{AgentId, Timestamp, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns, Dialect, Statement, decode, encode, statement};
use super::resource::{Change, Resource, all, one, page_of};
use super::work::Work;
use crate::accounts::{AccountsError, Earlier, Made};

const ADD: &str = "INSERT INTO agents (workspace_id, id, version, created_at, mail_name) VALUES ($1, $2, $3, $4, $5)";
const ADD_VERSION: &str = "INSERT INTO agent_versions (workspace_id, agent_id, version, definition, metadata, created_at) \
                           VALUES ($1, $2, $3, $4, $5, $6)";
const BUMP: &str = "UPDATE agents SET version = $3, mail_name = $5 WHERE workspace_id = $1 AND id = $2 AND version = $4 \
                    AND archived_at IS NULL";
const ARCHIVE: &str = "UPDATE agents SET archived_at = coalesce(archived_at, $3) WHERE workspace_id = $1 AND id = $2";
const GET: &str = "SELECT r.id, r.created_at, r.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                   FROM agents r JOIN agent_versions v ON v.workspace_id = r.workspace_id AND v.agent_id = r.id \
                   WHERE r.workspace_id = $1 AND r.id = $2 AND v.version = coalesce($3, r.version)";
const VERSIONS: &str = "SELECT r.id, r.created_at, r.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                        FROM agents r JOIN agent_versions v ON v.workspace_id = r.workspace_id AND v.agent_id = r.id \
                        WHERE r.workspace_id = $1 AND r.id = $2 AND v.version < $3 ORDER BY v.version DESC LIMIT $4";

const MAIL_NAMED: &str = "SELECT r.id, r.created_at, r.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                          FROM agents r JOIN agent_versions v ON v.workspace_id = r.workspace_id AND v.agent_id = r.id \
                          AND v.version = r.version WHERE r.workspace_id = $1 AND r.mail_name = $2 AND r.archived_at IS NULL \
                          ORDER BY r.created_at, r.id LIMIT 1";
const MAIL: &str = "SELECT r.id, r.created_at, r.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
                    FROM agents r JOIN agent_versions v ON v.workspace_id = r.workspace_id AND v.agent_id = r.id \
                    AND v.version = r.version WHERE r.workspace_id = $1 AND r.mail_name > '' AND r.archived_at IS NULL \
                    ORDER BY r.mail_name, r.created_at, r.id LIMIT $2";

impl Resource for Agent {
    const PAGE: &'static str = page_of!(
        "SELECT r.id, r.created_at, r.archived_at, v.definition, v.metadata, v.created_at AS updated_at \
         FROM agents r JOIN agent_versions v \
         ON v.workspace_id = r.workspace_id AND v.agent_id = r.id AND v.version = r.version"
    );

    fn made(&self) -> Earlier {
        Earlier::agent(self.snapshot.id, self.snapshot.version)
    }

    fn made_by(workspace: WorkspaceId, earlier: &Earlier) -> Statement {
        statement(GET)
            .text(workspace)
            .text(&earlier.resource_id)
            .count(earlier.version)
    }

    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        const TABLE: &str = "agent_versions";
        let id = row.text("id")?;
        Ok(Self {
            snapshot: decode(TABLE, id, row.text("definition")?)?,
            metadata: decode(TABLE, id, row.text("metadata")?)?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            archived_at: row.maybe_time("archived_at")?,
        })
    }
}

pub(super) async fn create<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    agent: Agent,
    idempotency: Option<Idempotency>,
) -> Result<Made<Agent>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, agent.created_at).await?;
    if let Some(made) = change.repeated().await? {
        return Ok(made);
    }
    let add = statement(ADD)
        .text(workspace)
        .text(agent.snapshot.id)
        .count(agent.snapshot.version)
        .time(agent.created_at)
        .text(mail_name(&agent));
    change.execute(add).await.map_err(DB::unavailable)?;
    finish(change, workspace, agent).await
}

pub(super) async fn put_version<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    agent: Agent,
    idempotency: Option<Idempotency>,
) -> Result<Made<Agent>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, agent.updated_at).await?;
    if let Some(made) = change.repeated().await? {
        return Ok(made);
    }
    let version = agent.snapshot.version;
    let bump = statement(BUMP)
        .text(workspace)
        .text(agent.snapshot.id)
        .count(version)
        .count(version.saturating_sub(1))
        .text(mail_name(&agent));
    if change.execute(bump).await.map_err(DB::unavailable)? == 0 {
        return Err(AccountsError::VersionMoved);
    }
    finish(change, workspace, agent).await
}

/// Stores the version the agent now has.
async fn finish<DB: Dialect>(
    mut change: Change<DB>,
    workspace: WorkspaceId,
    agent: Agent,
) -> Result<Made<Agent>, AccountsError> {
    let add = statement(ADD_VERSION)
        .text(workspace)
        .text(agent.snapshot.id)
        .count(agent.snapshot.version)
        .text(encode(&agent.snapshot)?)
        .text(encode(&agent.metadata)?)
        .time(agent.updated_at);
    change.execute(add).await.map_err(DB::unavailable)?;
    change.finish(agent).await
}

pub(super) async fn archive<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: AgentId,
    at: Timestamp,
    idempotency: Option<Idempotency>,
) -> Result<Option<Agent>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, at).await?;
    if let Some(made) = change.repeated::<Agent>().await? {
        return Ok(Some(made.resource));
    }
    let archive = statement(ARCHIVE).text(workspace).text(id).time(at);
    change.execute(archive).await.map_err(DB::unavailable)?;
    match change.one(get(workspace, id, None)).await? {
        Some(agent) => change.finish(agent).await.map(|made| Some(made.resource)),
        None => Ok(None),
    }
}

pub(super) async fn find<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: AgentId,
    version: Option<u64>,
) -> Result<Option<Agent>, StoreError> {
    let mut work = Work::reading(&pool).await?;
    one(&mut work, get(workspace, id, version)).await
}

pub(super) async fn versions<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: AgentId,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Agent>, StoreError> {
    let versions = statement(VERSIONS)
        .text(workspace)
        .text(id)
        .count(before.unwrap_or(u64::MAX))
        .number(limit);
    all(&pool, versions).await
}

pub(super) async fn with_mail_named<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    name: String,
) -> Result<Option<Agent>, StoreError> {
    let mut work = Work::reading(&pool).await?;
    one(&mut work, statement(MAIL_NAMED).text(workspace).text(name)).await
}

pub(super) async fn with_mail<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    limit: u32,
) -> Result<Vec<Agent>, StoreError> {
    all(&pool, statement(MAIL).text(workspace).number(limit)).await
}

/// The name an agent takes mail under; empty when it takes none.
fn mail_name(agent: &Agent) -> &str {
    let taken = agent.snapshot.mail.as_ref();
    taken.map_or("", |_| agent.snapshot.name.as_str())
}

fn get(workspace: WorkspaceId, id: AgentId, version: Option<u64>) -> Statement {
    statement(GET).text(workspace).text(id).maybe_count(version)
}
