//! Idempotency keys: what a request made, kept beside it (I19).

use perennial_engine::ports::{Idempotency, IdempotencyMode, StoreError};
use perennial_schema::{Timestamp, WorkspaceId};

use super::dialect::{Columns as _, Dialect, statement};
use super::work::Work;
use crate::accounts::{AccountsError, Earlier};
use crate::limits::{IDEMPOTENCY_KEPT, SDK_RETRY_WINDOW};

const RECALL: &str = "SELECT body_hash, resource_id, version, created_at FROM account_idempotency \
                      WHERE workspace_id = $1 AND scope = $2 AND key = $3";
const REMEMBER: &str = "INSERT INTO account_idempotency \
                        (workspace_id, scope, key, body_hash, resource_id, version, created_at) \
                        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (workspace_id, scope, key) DO UPDATE SET \
                        body_hash = excluded.body_hash, resource_id = excluded.resource_id, \
                        version = excluded.version, created_at = excluded.created_at";
/// Within the workspace only: changes of others may be under way, and two that forget the same rows could wait for each other.
const FORGET: &str = "DELETE FROM account_idempotency WHERE workspace_id = $1 AND created_at < $2";

/// Looks an idempotency key up, by the rules of its mode.
pub(super) async fn recall<DB: Dialect>(
    work: &mut Work<DB>,
    workspace: WorkspaceId,
    idempotency: &Idempotency,
    at: Timestamp,
) -> Result<Option<Earlier>, AccountsError> {
    if idempotency.mode == IdempotencyMode::Remember {
        return Ok(None);
    }
    let ask = statement(RECALL)
        .text(workspace)
        .text(&idempotency.scope)
        .text(&idempotency.key);
    let rows = work.rows(ask).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let age = at.micros().saturating_sub(row.number("created_at")?);
    let kept = match idempotency.mode {
        IdempotencyMode::Retry => SDK_RETRY_WINDOW,
        IdempotencyMode::Key | IdempotencyMode::Remember => IDEMPOTENCY_KEPT,
    };
    if u128::try_from(age).unwrap_or(0) > kept.as_micros() {
        return Ok(None);
    }
    if row.text("body_hash")? != idempotency.body_hash {
        return match idempotency.mode {
            IdempotencyMode::Key => Err(AccountsError::KeyReused),
            IdempotencyMode::Remember | IdempotencyMode::Retry => Ok(None),
        };
    }
    Ok(Some(Earlier {
        resource_id: row.text("resource_id")?.to_owned(),
        version: row.count("version")?,
    }))
}

/// Remembers what a request made, in the same transaction as the effect, and drops what is too old.
pub(super) async fn remember<DB: Dialect>(
    work: &mut Work<DB>,
    workspace: WorkspaceId,
    idempotency: &Idempotency,
    made: &Earlier,
    at: Timestamp,
) -> Result<(), StoreError> {
    let kept = i64::try_from(IDEMPOTENCY_KEPT.as_micros()).unwrap_or(i64::MAX);
    let forget = statement(FORGET)
        .text(workspace)
        .number(at.micros().saturating_sub(kept));
    work.execute(forget).await.map_err(DB::unavailable)?;
    let remember = statement(REMEMBER)
        .text(workspace)
        .text(&idempotency.scope)
        .text(&idempotency.key)
        .text(&idempotency.body_hash)
        .text(&made.resource_id)
        .count(made.version)
        .time(at);
    work.execute(remember).await.map_err(DB::unavailable)?;
    Ok(())
}
