//! Logins of the console: rows of `api_keys` under a name of their own, which no header can present.

use perennial_engine::ports::StoreError;
use perennial_schema::{KeyId, Timestamp, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Dialect, statement};
use super::keys;
use super::work::Work;
use crate::accounts::{ApiKey, Secret};

const ADD: &str = "INSERT INTO api_keys (workspace_id, id, name, hash, created_at) VALUES ($1, $2, 'console', $3, $4)";
const FORGET: &str = "DELETE FROM api_keys WHERE name = 'console' AND created_at <= $1";
const FIND: &str = concat!(
    "SELECT workspace_id, hash, ",
    keys::operates!(),
    " FROM api_keys WHERE id = $1 AND name = 'console' AND created_at > $2"
);
const END: &str = "DELETE FROM api_keys WHERE id = $1 AND name = 'console'";

pub(super) async fn add<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    login: Secret,
    at: Timestamp,
    expired: Timestamp,
) -> Result<(), StoreError> {
    let mut work = Work::begin(&pool).await?;
    let forget = statement(FORGET).time(expired);
    work.execute(forget).await.map_err(DB::unavailable)?;
    let add = statement(ADD)
        .text(workspace)
        .text(login.id)
        .bytes(&login.hash().0)
        .time(at);
    work.execute(add).await.map_err(DB::unavailable)?;
    work.commit().await
}

pub(super) async fn find<DB: Dialect>(
    pool: Pool<DB>,
    id: KeyId,
    expired: Timestamp,
) -> Result<Option<ApiKey>, StoreError> {
    keys::one(pool, id, statement(FIND).text(id).time(expired)).await
}

pub(super) async fn end<DB: Dialect>(pool: Pool<DB>, id: KeyId) -> Result<(), StoreError> {
    let mut work = Work::begin(&pool).await?;
    let end = statement(END).text(id);
    work.execute(end).await.map_err(DB::unavailable)?;
    work.commit().await
}
