//! Workspaces and keys.

use perennial_engine::ports::StoreError;
use perennial_schema::{KeyId, Timestamp, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns as _, Dialect, Statement, inconsistent, statement};
use super::work::Work;
use crate::accounts::{ApiKey, Ensured, Secret, SecretHash};

/// Whether a key's workspace is the one the install was made with.
macro_rules! operates {
    () => {
        "cast(CASE WHEN workspace_id = (SELECT w.workspace_id FROM workspaces w ORDER BY w.created_at, w.workspace_id LIMIT 1)
            THEN 1 ELSE 0 END AS bigint) AS operates"
    };
}
pub(super) use operates;

const ANSWERS: &str = "SELECT count(*) FROM workspaces";
const FIRST_WORKSPACE: &str = "SELECT workspace_id FROM workspaces ORDER BY created_at, workspace_id LIMIT 1";
const ADD_WORKSPACE: &str = "INSERT INTO workspaces (workspace_id, name, created_at) VALUES ($1, $2, $3)";
const ANY_KEY: &str =
    "SELECT id FROM api_keys WHERE workspace_id = $1 AND revoked_at IS NULL AND name <> 'console' LIMIT 1";
const ADD_KEY: &str = "INSERT INTO api_keys (workspace_id, id, name, hash, created_at) VALUES ($1, $2, $3, $4, $5)";
const KEY: &str = concat!(
    "SELECT workspace_id, hash, ",
    operates!(),
    " FROM api_keys WHERE id = $1 AND revoked_at IS NULL AND name <> 'console'"
);

/// When a key nobody knows yet is made.
#[derive(Clone, Copy)]
pub(super) enum Fresh {
    /// Whenever the known one is no good.
    Always,
    /// When there is no key at all.
    First,
}

pub(super) async fn answers<DB: Dialect>(pool: Pool<DB>) -> Result<(), StoreError> {
    let mut work = Work::reading(&pool).await?;
    work.rows(statement(ANSWERS)).await.map(|_| ())
}

pub(super) async fn find<DB: Dialect>(pool: Pool<DB>, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
    one(pool, id, statement(KEY).text(id)).await
}

/// The key that a statement finds.
pub(super) async fn one<DB: Dialect>(
    pool: Pool<DB>,
    id: KeyId,
    which: Statement,
) -> Result<Option<ApiKey>, StoreError> {
    let mut work = Work::reading(&pool).await?;
    let rows = work.rows(which).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let workspace = row.text("workspace_id")?.parse();
    let hash: Result<[u8; 32], _> = row.bytes("hash")?.try_into();
    Ok(Some(ApiKey {
        id,
        workspace: workspace.map_err(|error| inconsistent("api_keys", id, error))?,
        hash: SecretHash(hash.map_err(|error| inconsistent("api_keys", id, error))?),
        operates: row.number("operates")? == 1,
    }))
}

pub(super) async fn ensure<DB: Dialect>(
    pool: Pool<DB>,
    known: Option<Secret>,
    fresh: Fresh,
    at: Timestamp,
) -> Result<Ensured, StoreError> {
    if let Some(known) = &known
        && let Some(stored) = find(pool.clone(), known.id).await?
        && stored.hash.matches(known)
    {
        return Ok(Ensured {
            workspace: stored.workspace,
            known: true,
            fresh: None,
        });
    }
    let mut work = Work::begin(&pool).await?;
    // Servers that start at the same moment see one after the other what the first made.
    work.alone("first key").await?;
    let workspace = first_workspace(&mut work, at).await?;
    let wanted = match fresh {
        Fresh::Always => true,
        Fresh::First => {
            let any = work.rows(statement(ANY_KEY).text(workspace)).await?;
            any.is_empty()
        }
    };
    let fresh = wanted.then(random).transpose()?;
    if let Some(secret) = &fresh {
        let add = statement(ADD_KEY)
            .text(workspace)
            .text(secret.id)
            .text("generated")
            .bytes(&secret.hash().0)
            .time(at);
        work.execute(add).await.map_err(DB::unavailable)?;
    }
    work.commit().await?;
    Ok(Ensured {
        workspace,
        known: false,
        fresh,
    })
}

async fn first_workspace<DB: Dialect>(work: &mut Work<DB>, at: Timestamp) -> Result<WorkspaceId, StoreError> {
    let rows = work.rows(statement(FIRST_WORKSPACE)).await?;
    if let Some(row) = rows.first() {
        let text = row.text("workspace_id")?;
        return text.parse().map_err(|error| inconsistent("workspaces", text, error));
    }
    // Random ids come from the same place as keys; a workspace is made once per installation.
    let workspace = WorkspaceId::from_uuid(random()?.id.uuid());
    let add = statement(ADD_WORKSPACE).text(workspace).text("default").time(at);
    work.execute(add).await.map_err(DB::unavailable)?;
    Ok(workspace)
}

fn random() -> Result<Secret, StoreError> {
    Secret::generate().map_err(|error| StoreError::Unavailable {
        store: "randomness",
        message: error.to_string(),
    })
}
