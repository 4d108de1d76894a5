//! Claims, fair across tenants: each tenant's longest waiting session first, tenants in the order in which they were last
//! served. A tenant with ten thousand ready sessions delays the others by one.

use perennial_engine::ports::{Claimed, HARNESS_PATIENCE_MILLIS, SessionKey, SessionRow, StoreError};
use perennial_schema::Timestamp;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, query};

use super::failure::{Halt, refuse};
use super::leases::Claim;
use super::rows::{self, Stored as _};
use super::write;

/// The condition of the index `sessions_ready`, word for word.
macro_rules! claimable {
    () => {
        "ready_at IS NOT NULL AND owner IS NULL AND quarantined = 0 AND archived_at IS NULL AND deleted_at IS NULL"
    };
}

/// Walks from tenant to tenant in the index instead of reading every ready row: of each at most as many are looked at as one
/// claim takes and this owner can drive. Values: now, limit, owner, since when what nobody alive could drive waits too long,
/// slots of a workspace, ids in hexadecimal of sessions that are left for others.
const CHOOSE: &str = concat!(
    "WITH RECURSIVE waiting (workspace_id) AS (
        SELECT min(workspace_id) FROM sessions WHERE ",
    claimable!(),
    "   UNION ALL
        SELECT (SELECT min(workspace_id) FROM sessions WHERE ",
    claimable!(),
    "           AND workspace_id > waiting.workspace_id)
        FROM waiting WHERE waiting.workspace_id IS NOT NULL
     ), me AS MATERIALIZED (SELECT place, harnesses FROM owners WHERE owner = ?3
     ), candidates AS (
        SELECT s.number, s.workspace_id, s.ready_at,
            row_number() OVER (PARTITION BY s.workspace_id ORDER BY s.ready_at, s.number) AS place
        FROM waiting JOIN sessions s ON s.number IN (
            SELECT number FROM sessions r WHERE ",
    claimable!(),
    "       AND workspace_id = waiting.workspace_id AND ready_at <= ?1
            AND (place IS NULL OR place = (SELECT place FROM me))
            AND ((SELECT harnesses FROM me) IS NULL
                OR harness IN (SELECT value FROM json_each((SELECT harnesses FROM me)))
                OR (ready_at <= ?4 AND NOT EXISTS (SELECT 1 FROM owners o LEFT JOIN workers k ON k.owner = o.owner
                    WHERE o.expires_at > ?1 AND coalesce(k.standing, 'active') = 'active'
                        AND (r.place IS NULL OR o.place = r.place)
                        AND (o.harnesses IS NULL OR r.harness IN (SELECT value FROM json_each(o.harnesses))))))
            AND hex(id) NOT IN (SELECT value FROM json_each(?6))
            ORDER BY ready_at, number LIMIT ?2)
     )
     SELECT c.number, c.workspace_id FROM candidates c
     LEFT JOIN claim_turns t ON t.workspace_id = c.workspace_id
     WHERE ?5 IS NULL OR c.place <= ?5 - (SELECT count(*) FROM sessions h WHERE h.owner IS NOT NULL
        AND +h.workspace_id = c.workspace_id)
     ORDER BY c.place, coalesce(t.served, 0), c.ready_at, c.number LIMIT ?2"
);

/// As SQLite's `hex` writes them.
fn passed_by(keys: &[SessionKey]) -> Vec<String> {
    keys.iter()
        .map(|key| format!("{:X}", key.session.uuid().simple()))
        .collect()
}

/// Takes ready sessions for a living owner.
pub(super) async fn take(
    db: &mut SqliteConnection,
    claim: &Claim,
    now: Timestamp,
) -> Result<Vec<Claimed>, Halt<StoreError>> {
    let patience = i64::try_from(HARNESS_PATIENCE_MILLIS).unwrap_or(i64::MAX) * 1000;
    let chosen = query(CHOOSE)
        .bind(now.micros())
        .bind(claim.limit)
        .bind(claim.owner.stored())
        .bind(now.micros() - patience)
        .bind(claim.workspace_slots)
        .bind(write::text(&passed_by(&claim.pass_by)))
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
        .bind(claim.owner.stored())
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
