//! Requests that may be repeated, beside the effect they had (I19).

use perennial_engine::ports::{AppendError, Idempotency, SessionKey, StoreError};
use perennial_schema::WorkspaceId;
use sqlx::{SqliteConnection, query};

use super::append::bind_outcome;
use super::failure::{Halt, refuse};
use super::rows::{Cells, Stored as _};
use super::script::Script;
use crate::log::rules::{Outcome, Remembered};

/// What was remembered under a key.
pub(super) async fn find(
    db: &mut SqliteConnection,
    workspace: WorkspaceId,
    asked: &Idempotency,
) -> Result<Option<Remembered>, Halt<AppendError>> {
    let row = query(
        "SELECT body_hash, session_id, first_seq, last_seq, turn, at FROM idempotency
         WHERE workspace_id = ? AND scope = ? AND key = ?",
    )
    .bind(workspace.stored())
    .bind(&asked.scope)
    .bind(&asked.key)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let cells = Cells {
        row: &row,
        table: "idempotency",
        key: asked.key.clone(),
    };
    remembered(&cells).map(Some).map_err(refuse)
}

fn remembered(cells: &Cells<'_>) -> Result<Remembered, StoreError> {
    Ok(Remembered {
        body_hash: cells.get("body_hash")?,
        session: cells.id("session_id")?,
        outcome: Outcome {
            first_seq: cells.count("first_seq")?,
            last_seq: cells.count("last_seq")?,
            turn: cells.count("turn")?,
            at: cells.time("at")?,
        },
    })
}

/// Remembers a request, replacing what an SDK's key held before.
pub(super) fn remember(script: &mut Script, key: SessionKey, asked: &Idempotency, outcome: Outcome) {
    script
        .sql(
            "INSERT OR REPLACE INTO idempotency (workspace_id, scope, key, body_hash, session_id, first_seq, last_seq, turn, at)
             VALUES (?,?,?,?,?,?,?,?,?);",
        )
        .bind(key.workspace.stored())
        .bind(asked.scope.clone())
        .bind(asked.key.clone())
        .bind(asked.body_hash.clone())
        .bind(key.session.stored());
    bind_outcome(script, outcome);
}
