//! Workspaces and keys.

use perennial_engine::ports::StoreError;
use perennial_schema::{KeyId, Timestamp, WorkspaceId};
use sqlx::{Row as _, SqlitePool};

use super::{SqliteAccounts, begin, commit, inconsistent, store};
use crate::accounts::{ApiKey, Ensured, Secret, SecretHash};

const FIRST_WORKSPACE: &str = "SELECT workspace_id FROM workspaces ORDER BY created_at, workspace_id LIMIT 1";
const ADD_WORKSPACE: &str = "INSERT INTO workspaces (workspace_id, name, created_at) VALUES (?1, ?2, ?3)";
const ADD_KEY: &str = "INSERT INTO api_keys (workspace_id, id, name, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const KEY: &str = "SELECT workspace_id, hash FROM api_keys WHERE id = ?1 AND revoked_at IS NULL";

impl SqliteAccounts {
    pub(super) async fn find_key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.run(move |pool| async move { key(&pool, id).await }).await
    }

    pub(super) async fn ensure(&self, known: Option<Secret>, at: Timestamp) -> Result<Ensured, StoreError> {
        self.run(move |pool| async move { ensure(&pool, known, at).await })
            .await
    }

    pub(super) async fn answers(&self) -> Result<(), StoreError> {
        self.run(|pool| async move {
            sqlx::query("SELECT count(*) FROM workspaces")
                .fetch_one(&pool)
                .await
                .map(|_| ())
                .map_err(store)
        })
        .await
    }
}

async fn key(pool: &SqlitePool, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
    let row = sqlx::query(KEY)
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .map_err(store)?;
    row.map(|row| {
        let workspace = row
            .get::<&str, _>("workspace_id")
            .parse()
            .map_err(|error| inconsistent("api_keys", id, error))?;
        let hash: [u8; 32] = row
            .get::<&[u8], _>("hash")
            .try_into()
            .map_err(|error| inconsistent("api_keys", id, error))?;
        Ok(ApiKey {
            id,
            workspace,
            hash: SecretHash(hash),
        })
    })
    .transpose()
}

async fn ensure(pool: &SqlitePool, known: Option<Secret>, at: Timestamp) -> Result<Ensured, StoreError> {
    if let Some(known) = &known
        && let Some(stored) = key(pool, known.id).await?
        && stored.hash.matches(known)
    {
        return Ok(Ensured {
            workspace: stored.workspace,
            fresh: None,
        });
    }
    let secret = Secret::generate().map_err(|error| StoreError::Unavailable {
        store: "randomness",
        message: error.to_string(),
    })?;
    let mut transaction = begin(pool).await?;
    let first: Option<String> = sqlx::query_scalar(FIRST_WORKSPACE)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store)?;
    let workspace = match first {
        Some(text) => text.parse().map_err(|error| inconsistent("workspaces", &text, error))?,
        None => {
            // Random ids come from the same place as keys; a workspace is made once per installation.
            let fresh = Secret::generate().map_err(|error| StoreError::Unavailable {
                store: "randomness",
                message: error.to_string(),
            })?;
            let workspace = WorkspaceId::from_uuid(fresh.id.uuid());
            sqlx::query(ADD_WORKSPACE)
                .bind(workspace.to_string())
                .bind("default")
                .bind(at.micros())
                .execute(&mut *transaction)
                .await
                .map_err(store)?;
            workspace
        }
    };
    sqlx::query(ADD_KEY)
        .bind(workspace.to_string())
        .bind(secret.id.to_string())
        .bind("generated")
        .bind(secret.hash().0.as_slice())
        .bind(at.micros())
        .execute(&mut *transaction)
        .await
        .map_err(store)?;
    commit(transaction).await?;
    Ok(Ensured {
        workspace,
        fresh: Some(secret),
    })
}
