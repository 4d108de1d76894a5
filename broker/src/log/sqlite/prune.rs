//! Forgetting: idempotency keys whose time is over.

use perennial_schema::Timestamp;
use sqlx::{SqliteConnection, query};

use crate::limits;

/// Removes some keys that are older than their promise.
pub(super) async fn forgotten_keys(db: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    let kept = i64::try_from(limits::IDEMPOTENCY_MILLIS * 1000).unwrap_or(i64::MAX);
    query(
        "DELETE FROM idempotency WHERE (workspace_id, scope, key) IN
            (SELECT workspace_id, scope, key FROM idempotency WHERE at < ? ORDER BY at LIMIT ?)",
    )
    .bind(now.micros().saturating_sub(kept))
    .bind(limits::PRUNE_ROWS)
    .execute(db)
    .await?;
    Ok(())
}
