//! Keys of the workers of self-hosted environments. They die with their environment.

use perennial_engine::ports::StoreError;
use perennial_schema::{EnvironmentId, KeyId, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns, Dialect, inconsistent, statement};
use super::work::Work;
use crate::accounts::{ENVIRONMENT_KEYS, EnvironmentKey, SecretHash};

const TABLE: &str = "environment_keys";
const ADD: &str = "INSERT INTO environment_keys (workspace_id, environment_id, id, name, hash, created_at) \
                   SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM environment_keys \
                   WHERE workspace_id = $1 AND environment_id = $2) < $7 ON CONFLICT (id) DO NOTHING";
const FIND: &str = "SELECT k.workspace_id, k.environment_id, k.id, k.name, k.hash, k.created_at FROM environment_keys k \
                    JOIN environments e ON e.workspace_id = k.workspace_id AND e.id = k.environment_id WHERE k.id = $1";
const LIST: &str = "SELECT workspace_id, environment_id, id, name, hash, created_at FROM environment_keys \
                    WHERE workspace_id = $1 AND environment_id = $2 ORDER BY created_at DESC, id DESC";
const END: &str = "DELETE FROM environment_keys WHERE workspace_id = $1 AND environment_id = $2 AND id = $3";

pub(super) async fn add<DB: Dialect>(pool: Pool<DB>, key: EnvironmentKey) -> Result<bool, StoreError> {
    let mut work = Work::begin(&pool).await?;
    work.alone(key.environment).await?;
    let add = statement(ADD)
        .text(key.workspace)
        .text(key.environment)
        .text(key.id)
        .text(&key.name)
        .bytes(&key.hash.0)
        .time(key.created_at)
        .number(ENVIRONMENT_KEYS);
    let added = work.execute(add).await.map_err(DB::unavailable)?;
    work.commit().await?;
    Ok(added > 0)
}

pub(super) async fn find<DB: Dialect>(pool: Pool<DB>, id: KeyId) -> Result<Option<EnvironmentKey>, StoreError> {
    let rows = Work::reading(&pool).await?.rows(statement(FIND).text(id)).await?;
    rows.first().map(read).transpose()
}

pub(super) async fn list<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    environment: EnvironmentId,
) -> Result<Vec<EnvironmentKey>, StoreError> {
    let asked = statement(LIST).text(workspace).text(environment);
    let rows = Work::reading(&pool).await?.rows(asked).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn end<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    environment: EnvironmentId,
    id: KeyId,
) -> Result<bool, StoreError> {
    let mut work = Work::<DB>::reading(&pool).await?;
    let end = statement(END).text(workspace).text(environment).text(id);
    let gone = work.execute(end).await.map_err(DB::uncommitted)?;
    Ok(gone > 0)
}

fn read(row: &impl Columns) -> Result<EnvironmentKey, StoreError> {
    let id = row.text("id")?;
    let hash: Result<[u8; 32], _> = row.bytes("hash")?.try_into();
    Ok(EnvironmentKey {
        id: id.parse().map_err(|error| inconsistent(TABLE, id, error))?,
        workspace: parsed(id, row.text("workspace_id")?)?,
        environment: parsed(id, row.text("environment_id")?)?,
        name: row.text("name")?.to_owned(),
        hash: SecretHash(hash.map_err(|error| inconsistent(TABLE, id, error))?),
        created_at: row.time("created_at")?,
    })
}

fn parsed<T: std::str::FromStr<Err: ToString>>(key: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| inconsistent(TABLE, key, error))
}
