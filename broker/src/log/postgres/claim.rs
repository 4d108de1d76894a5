//! Claims, fair across tenants: each tenant's longest waiting session first, tenants in the order in which they were last
//! served. A tenant with ten thousand ready sessions delays the others by one. Claimers pass by what another is taking.

use std::sync::Arc;
use std::time::Duration;

use perennial_engine::ports::{Claimed, HARNESS_PATIENCE_MILLIS, SessionKey, StoreError};
use perennial_schema::OwnerId;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::ask::Desk;
use super::clock::{ALIVE, Time};
use super::death;
use super::failure::{self, Kind};
use super::prune;
use super::rows::{self, Cells, Known};
use super::script::Script;

/// Rows taken, as values.
pub(super) struct Taken {
    pub(super) claimed: Vec<Claimed>,
    /// The same rows as a writer sees them.
    pub(super) known: Vec<(SessionKey, Known)>,
}

/// The condition of the index `sessions_ready`, word for word.
macro_rules! claimable {
    () => {
        "ready_at IS NOT NULL AND owner IS NULL AND NOT quarantined AND archived_at IS NULL AND deleted_at IS NULL"
    };
}

/// The claimer, and everybody who claims; up to what makes an owner one that is alive.
const OWNERS: &str = ", living AS MATERIALIZED (SELECT o.owner, o.place, o.harnesses FROM owners o, clock c, wanted w
        WHERE o.owner = w.owner AND o.expires_at > c.now),
     able AS MATERIALIZED (SELECT o.place, o.harnesses FROM clock c, owners o LEFT JOIN workers k ON k.owner = o.owner
        WHERE coalesce(k.standing, 'active') = 'active' AND ";

/// Walks in the index from tenant to tenant, and among those of each from harness to harness, instead of reading every ready
/// row: of each that the owner can drive at most so many are looked at as one claim may take, and some more, because others
/// claim at the same moment. What waits for a harness that the owner has not is passed by unread for as long as somebody can be
/// hoped for who has; then as few of each are looked at, the oldest.
const LOOK: &str = concat!(
    ", waiting AS (
        (SELECT workspace_id, harness FROM sessions WHERE ",
    claimable!(),
    "   ORDER BY workspace_id, harness LIMIT 1)
        UNION ALL
        SELECT n.workspace_id, n.harness FROM waiting, LATERAL (SELECT s.workspace_id, s.harness FROM sessions s WHERE ",
    claimable!(),
    "       AND (s.workspace_id, s.harness) > (waiting.workspace_id, waiting.harness)
            ORDER BY s.workspace_id, s.harness LIMIT 1) n),
     found AS MATERIALIZED (
        SELECT s.number, s.workspace_id, s.ready_at
        FROM waiting, clock c, wanted w, living l, LATERAL (
            SELECT number, workspace_id, ready_at FROM sessions WHERE ",
    claimable!(),
    "       AND workspace_id = waiting.workspace_id AND harness = waiting.harness AND ready_at <= c.now
                AND (place IS NULL OR place = l.place) AND id <> ALL (w.pass_by)
            ORDER BY ready_at, number LIMIT w.most * 2 + 8) s
        WHERE l.harnesses IS NULL OR waiting.harness = ANY (l.harnesses)
        UNION ALL
        SELECT s.number, s.workspace_id, s.ready_at
        FROM waiting, clock c, wanted w, living l, LATERAL (
            SELECT number, workspace_id, ready_at, place FROM sessions WHERE ",
    claimable!(),
    "       AND workspace_id = waiting.workspace_id AND harness = waiting.harness AND ready_at <= c.now - w.patience
                AND (place IS NULL OR place = l.place) AND id <> ALL (w.pass_by)
            ORDER BY ready_at, number LIMIT w.most * 2 + 8) s
        WHERE l.harnesses IS NOT NULL AND NOT waiting.harness = ANY (l.harnesses) AND NOT EXISTS (
            SELECT FROM able a WHERE (s.place IS NULL OR a.place = s.place)
                AND (a.harnesses IS NULL OR waiting.harness = ANY (a.harnesses)))),
     ordered AS MATERIALIZED (
        SELECT f.number, f.workspace_id, f.ready_at,
            row_number() OVER (PARTITION BY f.workspace_id ORDER BY f.ready_at, f.number) AS turn FROM found f)"
);

/// Everybody gets what it asks for.
const ALL: &str = ", fitting AS MATERIALIZED (SELECT number, workspace_id, ready_at, turn FROM ordered),
     candidates AS (SELECT number, workspace_id, ready_at, turn FROM fitting)";

/// A workspace gets as much as it has room for. First by what this statement sees, so that no slot is spent on one that is full;
/// then, of the few that it would take from, by what is so while nobody else claims from them: see `sessions_running`.
const CAPPED: &str = ", running AS MATERIALIZED (
        SELECT workspace_id, count(*) AS held FROM sessions WHERE owner IS NOT NULL GROUP BY workspace_id),
     fitting AS MATERIALIZED (
        SELECT n.number, n.workspace_id, n.ready_at, n.turn
        FROM wanted w, ordered n LEFT JOIN running r ON r.workspace_id = n.workspace_id
        WHERE n.turn <= w.slots - coalesce(r.held, 0)),
     favoured AS MATERIALIZED (
        SELECT n.workspace_id FROM fitting n LEFT JOIN claim_turns t ON t.workspace_id = n.workspace_id
        ORDER BY n.turn, coalesce(t.served, 0), n.ready_at, n.number LIMIT (SELECT most FROM wanted)),
     room AS MATERIALIZED (
        SELECT r.workspace, w.slots - r.running AS slots
        FROM wanted w, sessions_running(ARRAY(SELECT DISTINCT workspace_id FROM favoured)) r),
     candidates AS MATERIALIZED (
        SELECT n.number, n.workspace_id, n.ready_at, n.turn
        FROM fitting n JOIN room r ON r.workspace = n.workspace_id AND n.turn <= r.slots)";

/// The rows are found by their numbers: `coalesce` hides from the planner that they are in the index of what is ready, all of which it
/// would read.
const TAKE: &str = ",
     locked AS MATERIALIZED (
        SELECT s.number, n.turn, coalesce(t.served, 0) AS served, s.ready_at
        FROM candidates n JOIN sessions s ON s.number = n.number LEFT JOIN claim_turns t ON t.workspace_id = n.workspace_id
        WHERE coalesce(s.ready_at IS NOT NULL AND s.owner IS NULL AND NOT s.quarantined AND s.archived_at IS NULL
            AND s.deleted_at IS NULL, false) AND NOT (SELECT somebody FROM dead)
        ORDER BY n.turn, coalesce(t.served, 0), n.ready_at, n.number
        LIMIT (SELECT most FROM wanted) FOR UPDATE OF s SKIP LOCKED),
     taken AS (
        UPDATE sessions s SET owner = w.owner, claim_id = w.claim_id, epoch = s.epoch + 1, revision = s.revision + 1
        FROM locked k, wanted w WHERE s.number = k.number
        RETURNING s.*, k.turn AS claim_turn, k.served AS claim_served, k.ready_at AS claim_ready)
     SELECT ";

/// Whether somebody has died: then nothing is taken, until what they held is freed and has its turn.
fn somebody_died() -> String {
    format!(
        "(EXISTS (SELECT FROM sessions s, clock c WHERE s.owner IS NOT NULL AND NOT EXISTS (
            SELECT FROM owners o WHERE o.owner = s.owner AND {ALIVE}))
          OR EXISTS (SELECT FROM owners o, clock c WHERE NOT {ALIVE}))"
    )
}

/// How much to take, and for whom.
struct Wanted {
    owner: OwnerId,
    limit: u32,
    pass_by: Vec<Uuid>,
}

fn take(desk: &Desk, wanted: &Wanted, judges: bool, claim: Uuid) -> Script {
    let slots = desk.site.workspace_slots;
    let mut script = desk.site.time.script();
    script
        .sql(", wanted AS MATERIALIZED (SELECT ")
        .bind(wanted.owner.uuid())
        .sql(" AS owner, ")
        .bind(claim)
        .sql(" AS claim_id, ")
        .bind(i64::from(wanted.limit))
        .sql(" AS most, ")
        .bind(slots.map(i64::from))
        .sql("::bigint AS slots, ")
        .bind(rows::integer(HARNESS_PATIENCE_MILLIS))
        .sql(" * interval '1 millisecond' AS patience, ")
        .bind(wanted.pass_by.clone())
        .sql("::uuid[] AS pass_by), dead AS MATERIALIZED (SELECT ")
        .bind(judges)
        .sql(" AND ")
        .sql(&somebody_died())
        .sql(" AS somebody)")
        .sql(OWNERS)
        .sql(ALIVE)
        .sql(")")
        .sql(LOOK)
        .sql(if slots.is_some() { CAPPED } else { ALL })
        .sql(TAKE)
        .sql(&rows::session_columns())
        .sql(
            ", n.candidates, x.somebody AS somebody_died
             FROM (SELECT count(*) AS candidates FROM fitting) n CROSS JOIN clock c CROSS JOIN dead x
             LEFT JOIN (taken s JOIN session_details d ON d.session = s.number) ON true
             ORDER BY s.claim_turn, s.claim_served, s.claim_ready, s.number",
        );
    script
}

/// What a claim took whose answer was lost.
fn taken(time: &Time, owner: OwnerId, claim: Uuid) -> Script {
    let mut script = time.script();
    script
        .sql(" SELECT ")
        .sql(&rows::session_columns())
        .sql(" FROM clock c CROSS JOIN sessions s JOIN session_details d ON d.session = s.number WHERE s.owner = ")
        .bind(owner.uuid())
        .sql(" AND s.claim_id = ")
        .bind(claim)
        .sql(" ORDER BY s.ready_at, s.number");
    script
}

/// Notes that these tenants were served, in this order. Unlogged, so it waits for no disk.
fn serve(workspaces: &[Uuid]) -> Script {
    let mut script = Script::new(
        "INSERT INTO claim_turns (workspace_id, served)
         SELECT w.id, w.n + (SELECT coalesce(max(served), 0) FROM claim_turns) FROM unnest(",
    );
    script.bind(workspaces.to_vec()).sql(
        ") WITH ORDINALITY AS w (id, n) ORDER BY w.id
         ON CONFLICT (workspace_id) DO UPDATE SET served = excluded.served",
    );
    script
}

/// Frees what dead owners held. Asked once: an answer that needed a second connection is a reason to doubt one's own sight.
async fn free(desk: &Desk) -> Result<(), StoreError> {
    match desk.once(death::free_dead(&desk.site.time)).await {
        Err(error) if failure::kind(&error) == Kind::Refused => Err(failure::nothing_written(&error)),
        _ => Ok(()),
    }
}

/// Frees what dead owners held, unless this process has reason to doubt its own sight, then takes up to `limit` ready sessions
/// for a living owner. Runs in a task of its own.
pub(super) async fn claim(desk: Desk, owner: OwnerId, limit: u32, pass_by: Vec<Uuid>) -> Result<Taken, StoreError> {
    if desk.site.may_prune()
        && let Err(error) = desk.once(prune::forgotten_keys(&desk.site.time)).await
    {
        tracing::warn!(%error, "old idempotency keys are still there");
    }
    let wanted = Wanted { owner, limit, pass_by };
    // Whom the last claim of this process served is noted by now.
    drop(desk.site.serving.lock().await);
    let rows = take_some(&desk, &wanted).await?;
    let taken = healthy(&desk, &rows).await?;
    let mut workspaces: Vec<Uuid> = Vec::new();
    for (key, _) in &taken.known {
        let workspace = key.workspace.uuid();
        if !workspaces.contains(&workspace) {
            workspaces.push(workspace);
        }
    }
    if !workspaces.is_empty() {
        // What was taken does not wait for that.
        let serving = Arc::clone(&desk.site.serving).lock_owned().await;
        tokio::spawn(async move {
            if let Err(error) = desk.until_answered(&|| serve(&workspaces)).await {
                tracing::warn!(%error, "which tenants were served is not noted");
            }
            drop(serving);
        });
    }
    Ok(taken)
}

/// Takes up to `limit`. Where rows were passed by only because somebody was writing to them, another look soon finds them.
async fn take_some(desk: &Desk, wanted: &Wanted) -> Result<Vec<PgRow>, StoreError> {
    let time = &desk.site.time;
    let mut judges = desk.site.may_judge();
    let mut pause = Duration::from_millis(1);
    loop {
        let id = Uuid::now_v7();
        let rows = match desk.once(take(desk, wanted, judges, id)).await {
            Ok(rows) => rows,
            Err(error) if failure::kind(&error) == Kind::Refused => return Err(failure::nothing_written(&error)),
            // It may have happened: what was taken under this id is ours.
            Err(_) => {
                let taken = || taken(time, wanted.owner, id);
                let rows = desk.until_answered(&taken).await;
                return rows.map_err(|error| failure::nothing_written(&error));
            }
        };
        if said(&rows, "somebody_died").unwrap_or(false) {
            free(desk).await?;
            judges = false;
            continue;
        }
        let candidates: i64 = said(&rows, "candidates").unwrap_or(0);
        let took = |row: &PgRow| matches!(row.try_get::<Option<i64>, _>("number"), Ok(Some(_)));
        let rows: Vec<PgRow> = rows.into_iter().filter(took).collect();
        if !rows.is_empty() || candidates == 0 || wanted.limit == 0 || pause > Duration::from_millis(8) {
            return Ok(rows);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// What every row of the answer says.
fn said<'r, V: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>>(
    rows: &'r [PgRow],
    column: &str,
) -> Option<V> {
    rows.first()?.try_get(column).ok()
}

/// The rows that parse. One that does not is set aside, so that it cannot keep its neighbours from being claimed; reading it
/// says what is wrong with it.
async fn healthy(desk: &Desk, rows: &[PgRow]) -> Result<Taken, StoreError> {
    let mut taken = Taken {
        claimed: Vec::with_capacity(rows.len()),
        known: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        let error = match rows::seen(row) {
            Ok((row, known)) => {
                taken.known.push((row.key, known));
                taken.claimed.push(Claimed { row });
                continue;
            }
            Err(error) => error,
        };
        let cells = Cells {
            row,
            table: "sessions",
            key: String::from("claimed"),
        };
        let number: i64 = cells.get("number")?;
        tracing::error!(session.number = number, %error, "a session is set aside: its row does not parse");
        let aside = || {
            let mut script = Script::new(
                "UPDATE sessions SET quarantined = true, owner = NULL, revision = revision + 1 WHERE number = ",
            );
            script.bind(number);
            script
        };
        desk.until_answered(&aside)
            .await
            .map_err(|error| failure::nothing_written(&error))?;
    }
    Ok(taken)
}
