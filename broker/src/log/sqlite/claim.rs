//! Claims, fair across tenants: each tenant's longest waiting session first, tenants in the order in which they were last
//! served. A tenant with ten thousand ready sessions delays the others by one.

use perennial_engine::ports::{Claimed, HARNESS_PATIENCE_MILLIS, SessionKey, StoreError};
use perennial_schema::Timestamp;
use sqlx::{AssertSqlSafe, Executor as _, Row as _, SqliteConnection, query};

use super::failure::Halt;
use super::heads::Left;
use super::leases::Claim;
use super::rows::{self, Stored as _};
use super::write;

/// The condition of the index `sessions_ready`, word for word.
macro_rules! claimable {
    () => {
        "ready_at IS NOT NULL AND owner IS NULL AND quarantined = 0 AND archived_at IS NULL AND deleted_at IS NULL"
    };
}

/// What a claim chose, in its order, for the statements after it; and at place 0 that somebody has died.
const CHOSEN: &str = "CREATE TEMP TABLE IF NOT EXISTS chosen (
    place INTEGER PRIMARY KEY, number INTEGER NOT NULL, workspace_id BLOB NOT NULL) STRICT";

/// Looks for the dead and walks from tenant to tenant in the index instead of reading every ready row: of each at most as many
/// are looked at as one claim takes and this owner can drive. Where somebody has died nothing is chosen, until what they held is
/// freed and has its turn. Values: now, limit, owner, since when what nobody alive could drive waits too long, slots of a
/// workspace, ids in hexadecimal of sessions that are left for others.
const CHOOSE: &str = concat!(
    "DELETE FROM temp.chosen;
     INSERT INTO temp.chosen (place, number, workspace_id) SELECT 0, 0, x'' WHERE
        EXISTS (SELECT 1 FROM owners WHERE expires_at <= ?1)
        OR EXISTS (SELECT 1 FROM sessions WHERE owner IS NOT NULL
            AND owner NOT IN (SELECT owner FROM owners WHERE expires_at > ?1));
     INSERT INTO temp.chosen (number, workspace_id)
     WITH RECURSIVE me AS MATERIALIZED (
        SELECT place, harnesses FROM owners WHERE owner = ?3 AND expires_at > ?1 AND NOT EXISTS (SELECT 1 FROM temp.chosen)
     ), waiting (workspace_id) AS (
        SELECT min(workspace_id) FROM sessions WHERE EXISTS (SELECT 1 FROM me) AND ",
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
     ORDER BY c.place, coalesce(t.served, 0), c.ready_at, c.number LIMIT ?2;"
);

/// Takes what was chosen, and notes that these tenants were served, in this order.
const TAKE: &str = "UPDATE sessions SET epoch = epoch + 1, owner = ?3 WHERE number IN (SELECT number FROM temp.chosen);
     INSERT INTO claim_turns (workspace_id, served)
     SELECT workspace_id, (SELECT coalesce(max(served), 0) FROM claim_turns) + row_number() OVER (ORDER BY min(place))
     FROM temp.chosen WHERE place > 0 GROUP BY workspace_id
     ON CONFLICT (workspace_id) DO UPDATE SET served = excluded.served;";

/// What a claim took.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) claimed: Vec<Claimed>,
    /// The same as the writer knows them.
    pub(super) left: Vec<Left>,
}

/// Makes a writing connection ready for claims.
pub(super) async fn prepare(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    db.execute(CHOSEN).await.map(|_| ())
}

/// As SQLite's `hex` writes them.
fn passed_by(keys: &[SessionKey]) -> Vec<String> {
    keys.iter()
        .map(|key| format!("{:X}", key.session.uuid().simple()))
        .collect()
}

/// Takes ready sessions for a living owner, in one trip to the connection's thread. None where somebody has died: nothing was
/// taken then.
pub(super) async fn take(
    db: &mut SqliteConnection,
    claim: &Claim,
    now: Timestamp,
) -> Result<Option<Taken>, Halt<StoreError>> {
    let patience = i64::try_from(HARNESS_PATIENCE_MILLIS).unwrap_or(i64::MAX) * 1000;
    let sql = format!(
        "{CHOOSE}{TAKE}SELECT c.place AS nth, c.number AS chosen, {}
         FROM temp.chosen c LEFT JOIN sessions s ON s.number = c.number LEFT JOIN session_details d ON d.session = c.number
         ORDER BY c.place",
        rows::session_columns("?1")
    );
    let chosen = query(AssertSqlSafe(sql))
        .bind(now.micros())
        .bind(claim.limit)
        .bind(claim.owner.stored())
        .bind(now.micros() - patience)
        .bind(claim.workspace_slots)
        .bind(write::text(&passed_by(&claim.pass_by)))
        .fetch_all(&mut *db)
        .await?;
    let mut taken = Taken::default();
    for row in &chosen {
        if row.try_get::<i64, _>("nth")? == 0 {
            return Ok(None);
        }
        let number = row.try_get("chosen")?;
        match rows::seen(row) {
            Ok((session, head)) => {
                taken.left.push((session.key, number, head));
                taken.claimed.push(Claimed { row: session });
            }
            Err(error) => set_aside(db, number, &error).await?,
        }
    }
    Ok(Some(taken))
}

/// A row that does not parse must not keep its neighbours from being claimed; reading it says what is wrong with it.
async fn set_aside(db: &mut SqliteConnection, number: i64, error: &StoreError) -> Result<(), sqlx::Error> {
    tracing::error!(session.number = number, %error, "a session is set aside: its row does not parse");
    query("UPDATE sessions SET quarantined = 1, owner = NULL WHERE number = ?")
        .bind(number)
        .execute(&mut *db)
        .await
        .map(|_| ())
}
