//! Owner processes: announced, renewed, ended; and what there is to claim. Their rows are all that renewal touches, however
//! many sessions are held.

use perennial_engine::ports::{Held, Reach, ReadyCount, RenewError, StoreError};
use perennial_schema::{ExecutorId, OwnerId};
use sqlx::postgres::PgRow;

use super::ask::Desk;
use super::clock::ALIVE;
use super::rows::{self, Cells};
use super::script::Script;

/// Announces an owner. What it holds to prove its life stays.
pub(super) async fn register(desk: &Desk, owner: OwnerId, ttl_millis: u64, reach: &Reach) -> Result<(), StoreError> {
    desk.site.lives(ttl_millis);
    let time = desk.site.time.clone();
    let reach = reach.clone();
    let make = move || {
        let mut script = time.script();
        script
            .sql(" INSERT INTO owners (owner, expires_at, ttl, place, harnesses) SELECT ")
            .bind(owner.uuid())
            .sql(", c.now + ");
        ttl(&mut script, ttl_millis);
        script.sql(", ");
        ttl(&mut script, ttl_millis);
        script
            .comma(reach.place.map(ExecutorId::uuid))
            .comma(reach.harnesses.clone())
            .sql(
                "::text[] FROM clock c ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at, ttl = excluded.ttl,
                    place = excluded.place, harnesses = excluded.harnesses",
            );
        script
    };
    desk.ask(make).await.map(|_| ())
}

fn ttl(script: &mut Script, millis: u64) {
    script.bind(rows::integer(millis)).sql(" * interval '1 millisecond'");
}

/// Extends an owner and reads the heads of what it holds.
pub(super) async fn renew(desk: &Desk, owner: OwnerId, ttl_millis: u64) -> Result<Vec<Held>, RenewError> {
    desk.site.lives(ttl_millis);
    let time = desk.site.time.clone();
    let make = move || {
        let mut script = time.script();
        script.sql(", renewed AS (UPDATE owners o SET expires_at = c.now + ");
        ttl(&mut script, ttl_millis);
        script
            .sql(" FROM clock c WHERE o.owner = ")
            .bind(owner.uuid())
            .sql(" AND ")
            .sql(ALIVE)
            .sql(
                " RETURNING o.owner)
                 SELECT s.workspace_id, s.id, s.epoch, s.head FROM renewed r LEFT JOIN sessions s ON s.owner = r.owner",
            );
        script
    };
    let rows = desk.ask(make).await?;
    if rows.is_empty() {
        return Err(RenewError::Expired);
    }
    let held = rows.iter().map(held).collect::<Result<Vec<_>, _>>()?;
    Ok(held.into_iter().flatten().collect())
}

fn held(row: &PgRow) -> Result<Option<Held>, StoreError> {
    let cells = Cells {
        row,
        table: "sessions",
        key: String::from("held"),
    };
    if cells.get::<Option<i64>>("epoch")?.is_none() {
        return Ok(None);
    }
    Ok(Some(Held {
        key: rows::key(&cells)?,
        epoch: cells.count("epoch")?,
        head: cells.count("head")?,
    }))
}

/// Ends an owner.
pub(super) async fn unregister(desk: &Desk, owner: OwnerId) -> Result<(), StoreError> {
    let make = move || {
        let mut script = Script::new("WITH ended AS (DELETE FROM owners WHERE owner = ");
        script
            .bind(owner.uuid())
            .sql("), held AS MATERIALIZED (SELECT number FROM sessions WHERE owner = ")
            .bind(owner.uuid())
            .sql(
                " ORDER BY number FOR UPDATE)
                 UPDATE sessions s SET owner = NULL, revision = s.revision + 1
                 FROM held h WHERE s.number = h.number AND s.owner = ",
            )
            .bind(owner.uuid());
        script
    };
    desk.ask(make).await.map(|_| ())
}

/// What there is to claim, held by nobody or by the dead.
pub(super) async fn ready(desk: &Desk) -> Result<ReadyCount, StoreError> {
    let time = desk.site.time.clone();
    let make = move || {
        let mut script = time.script();
        script
            .sql(
                " SELECT count(*) FILTER (WHERE r.ready_at <= c.now) AS ready,
                    ceil(extract(epoch FROM min(r.ready_at) - min(c.now)) * 1000)::bigint AS next_millis
                 FROM clock c CROSS JOIN (
                    SELECT s.ready_at FROM sessions s
                    WHERE s.ready_at IS NOT NULL AND s.owner IS NULL AND NOT s.quarantined AND s.archived_at IS NULL
                        AND s.deleted_at IS NULL
                    UNION ALL
                    SELECT s.ready_at FROM sessions s CROSS JOIN clock c
                    WHERE s.owner IS NOT NULL AND s.ready_at IS NOT NULL AND NOT s.quarantined AND s.archived_at IS NULL
                        AND s.deleted_at IS NULL AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = s.owner AND ",
            )
            .sql(ALIVE)
            .sql(")) r");
        script
    };
    let rows = desk.ask(make).await?;
    let Some(row) = rows.first() else {
        return Ok(ReadyCount::default());
    };
    let cells = Cells {
        row,
        table: "sessions",
        key: String::from("ready"),
    };
    let now = cells.count("ready")?;
    let next: Option<i64> = cells.get("next_millis")?;
    let next = next.map(|millis| u64::try_from(millis).unwrap_or(0));
    Ok(ReadyCount {
        now,
        next_millis: if now > 0 { None } else { next },
    })
}
