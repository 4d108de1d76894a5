//! Claims, fair across tenants: each tenant's longest waiting session first, tenants in the order in which they were last
//! served. A tenant with ten thousand ready sessions delays the others by one.

use perennial_engine::ports::{Claimed, SessionRow, StoreError};
use perennial_schema::{OwnerId, Timestamp};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, query};

use super::failure::{Halt, refuse};
use super::rows::{self, Stored as _};
use super::write;

/// The condition of the index `sessions_ready`, word for word.
macro_rules! claimable {
    () => {
        "ready_at IS NOT NULL AND owner IS NULL AND quarantined = 0 AND archived_at IS NULL AND deleted_at IS NULL"
    };
}

/// Walks from tenant to tenant in the index instead of reading every ready row: at most `limit` rows of each are looked at.
/// Values: now, limit, owner.
const CHOOSE: &str = concat!(
    "WITH RECURSIVE waiting (workspace_id) AS (
        SELECT min(workspace_id) FROM sessions WHERE ",
    claimable!(),
    "   UNION ALL
        SELECT (SELECT min(workspace_id) FROM sessions WHERE ",
    claimable!(),
    "           AND workspace_id > waiting.workspace_id)
        FROM waiting WHERE waiting.workspace_id IS NOT NULL
     ), candidates AS (
        SELECT s.number, s.workspace_id, s.ready_at,
            row_number() OVER (PARTITION BY s.workspace_id ORDER BY s.ready_at, s.number) AS place
        FROM waiting JOIN sessions s ON s.number IN (
            SELECT number FROM sessions WHERE ",
    claimable!(),
    "       AND workspace_id = waiting.workspace_id AND ready_at <= ?1
            AND (place IS NULL OR place = (SELECT o.place FROM owners o WHERE o.owner = ?3)) ORDER BY ready_at, number LIMIT ?2)
     )
     SELECT c.number, c.workspace_id FROM candidates c
     LEFT JOIN claim_turns t ON t.workspace_id = c.workspace_id
     ORDER BY c.place, coalesce(t.served, 0), c.ready_at, c.number LIMIT ?2"
);

/// Takes up to `limit` ready sessions for a living owner.
pub(super) async fn take(
    db: &mut SqliteConnection,
    owner: OwnerId,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Claimed>, Halt<StoreError>> {
    let chosen = query(CHOOSE)
        .bind(now.micros())
        .bind(limit)
        .bind(owner.stored())
        .fetch_all(&mut *db)
        .await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = Vec::with_capacity(chosen.len());
    for row in &chosen {
        numbers.push(row.try_get::<i64, _>("number")?);
    }
    let healthy = load(db, &numbers, now).await?;
    let numbers: Vec<i64> = healthy.iter().map(|(number, _)| *number).collect();
    let sql = "UPDATE sessions SET epoch = epoch + 1, owner = ? WHERE number IN (SELECT value FROM json_each(?))";
    query(sql)
        .bind(owner.stored())
        .bind(write::text(&numbers))
        .execute(&mut *db)
        .await?;
    serve(db, &healthy).await?;
    let claimed = healthy.into_iter().map(|(_, mut row)| {
        row.epoch += 1;
        row.held = true;
        Claimed { row }
    });
    Ok(claimed.collect())
}

/// The rows, in the order chosen. One that does not parse is set aside, so that it cannot keep its neighbours from being
/// claimed; reading it says what is wrong with it.
async fn load(
    db: &mut SqliteConnection,
    numbers: &[i64],
    now: Timestamp,
) -> Result<Vec<(i64, SessionRow)>, Halt<StoreError>> {
    let sql = format!("{} WHERE s.number = ?", rows::select_sessions(rows::Telling::Nothing));
    let mut healthy = Vec::with_capacity(numbers.len());
    for number in numbers {
        let row = query(AssertSqlSafe(sql.clone()))
            .bind(now.micros())
            .bind(number)
            .fetch_optional(&mut *db)
            .await?;
        let parsed = row.as_ref().map(rows::session).transpose();
        match parsed {
            Ok(Some(row)) => healthy.push((*number, row)),
            Ok(None) | Err(StoreError::Inconsistent { .. }) => {
                tracing::error!(session.number = number, error = ?parsed.err(), "a session is set aside: its row does not parse");
                query("UPDATE sessions SET quarantined = 1 WHERE number = ?")
                    .bind(number)
                    .execute(&mut *db)
                    .await?;
            }
            Err(error) => return Err(refuse(error)),
        }
    }
    Ok(healthy)
}

/// Notes that these tenants were served, in this order.
async fn serve(db: &mut SqliteConnection, claimed: &[(i64, SessionRow)]) -> Result<(), sqlx::Error> {
    let mut served = Vec::new();
    for (_, row) in claimed {
        if served.contains(&row.key.workspace) {
            continue;
        }
        served.push(row.key.workspace);
        query(
            "INSERT INTO claim_turns (workspace_id, served) VALUES (?, (SELECT coalesce(max(served), 0) + 1 FROM claim_turns))
             ON CONFLICT (workspace_id) DO UPDATE SET served = excluded.served",
        )
        .bind(row.key.workspace.stored())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
