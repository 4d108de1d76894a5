//! Lease verbs, as members of the writer's transactions.

use async_trait::async_trait;
use perennial_engine::ports::{Held, Reach, Ready, ReadyCount, RenewError, SessionKey, StoreError};
use perennial_schema::{OwnerId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, SqlitePool, query};

use super::claim::{self, Taken};
use super::failure::{self, Halt, refuse};
use super::rows::{self, Cells, Stored};
use super::script::Script;
use super::write::{self, Place};
use super::writer::{Left, Verb};
use crate::log::rules::Head;

/// Announces an owner.
pub(super) struct Register {
    pub(super) owner: OwnerId,
    pub(super) ttl_millis: u64,
    pub(super) reach: Reach,
}

#[async_trait]
impl Verb for Register {
    type Answer = ();
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<(), Halt<StoreError>> {
        query("INSERT OR REPLACE INTO owners (owner, expires_at, place, harnesses) VALUES (?, ?, ?, ?)")
            .bind(self.owner.stored())
            .bind(now.plus_millis(self.ttl_millis).micros())
            .bind(self.reach.place.map(Stored::stored))
            .bind(self.reach.harnesses.as_ref().map(write::text))
            .execute(db)
            .await?;
        Ok(())
    }
}

/// Takes ready sessions, after what dead owners held was freed.
pub(super) struct Claim {
    pub(super) owner: OwnerId,
    pub(super) limit: u32,
    pub(super) pass_by: Vec<SessionKey>,
    pub(super) workspace_slots: Option<u32>,
}

#[async_trait]
impl Verb for Claim {
    type Answer = Taken;
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        false
    }

    fn left(taken: &mut Taken) -> Vec<Left> {
        std::mem::take(&mut taken.left)
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Taken, Halt<StoreError>> {
        if let Some(taken) = claim::take(db, self, now).await? {
            return Ok(taken);
        }
        free_dead(db, now).await?;
        Ok(claim::take(db, self, now).await?.unwrap_or_default())
    }
}

/// Extends an owner and reads the heads of what it holds.
pub(super) struct Renew {
    pub(super) owner: OwnerId,
    pub(super) ttl_millis: u64,
}

#[async_trait]
impl Verb for Renew {
    type Answer = Vec<Held>;
    type Refusal = RenewError;

    fn durable(&self) -> bool {
        false
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Held>, Halt<RenewError>> {
        let renewed = query("UPDATE owners SET expires_at = ? WHERE owner = ? AND expires_at > ?")
            .bind(now.plus_millis(self.ttl_millis).micros())
            .bind(self.owner.stored())
            .bind(now.micros())
            .execute(&mut *db)
            .await?;
        if renewed.rows_affected() == 0 {
            return Err(Halt::Refused(RenewError::Expired));
        }
        let held = query("SELECT workspace_id, id, epoch, head FROM sessions WHERE owner = ?")
            .bind(self.owner.stored())
            .fetch_all(db)
            .await?;
        held.iter().map(self::held).collect::<Result<_, _>>().map_err(refuse)
    }
}

fn held(row: &SqliteRow) -> Result<Held, StoreError> {
    let cells = Cells {
        row,
        table: "sessions",
        key: String::from("held"),
    };
    Ok(Held {
        key: SessionKey {
            workspace: cells.id("workspace_id")?,
            session: cells.id("id")?,
        },
        epoch: cells.count("epoch")?,
        head: cells.count("head")?,
    })
}

/// Gives a lease back.
pub(super) struct Release {
    pub(super) key: SessionKey,
    pub(super) epoch: u64,
    pub(super) ready: Ready,
    pub(super) only_at_head: u64,
}

#[async_trait]
impl Verb for Release {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<(), Halt<StoreError>> {
        let Some((place, before)) = load(db, self.key).await? else {
            return Ok(());
        };
        if before.epoch != self.epoch || before.owner.is_none() {
            return Ok(());
        }
        let mut after = before.clone();
        after.release(self.ready, self.only_at_head, now);
        store(db, place, &before, &after).await?;
        Ok(())
    }
}

/// Ends an owner.
pub(super) struct Unregister {
    pub(super) owner: OwnerId,
}

#[async_trait]
impl Verb for Unregister {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, db: &mut SqliteConnection, _now: Timestamp) -> Result<(), Halt<StoreError>> {
        query("UPDATE sessions SET owner = NULL WHERE owner = ?")
            .bind(self.owner.stored())
            .execute(&mut *db)
            .await?;
        query("DELETE FROM owners WHERE owner = ?")
            .bind(self.owner.stored())
            .execute(db)
            .await?;
        Ok(())
    }
}

/// A session's hot columns.
async fn load(db: &mut SqliteConnection, key: SessionKey) -> Result<Option<(Place, Head)>, Halt<StoreError>> {
    let sql = format!(
        "SELECT {} FROM sessions s WHERE s.workspace_id = ? AND s.id = ?",
        rows::HEAD
    );
    let row = query(AssertSqlSafe(sql))
        .bind(key.workspace.stored())
        .bind(key.session.stored())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let cells = Cells {
        row: &row,
        table: "sessions",
        key: key.session.to_string(),
    };
    let number = cells.get("number").map_err(refuse)?;
    let head = rows::head(&cells).map_err(refuse)?;
    Ok(Some((Place { key, number }, head)))
}

async fn store(db: &mut SqliteConnection, place: Place, before: &Head, after: &Head) -> Result<(), sqlx::Error> {
    let mut script = Script::new();
    write::head(&mut script, place, before, after);
    script.run(db).await
}

/// Frees the sessions of owners that are gone or expired; each counts one attempt (I15). A row that does not parse is freed
/// too: its other columns say enough.
pub(super) async fn free_dead(db: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    let dead = query(
        "SELECT s.number, s.attempts, s.ready_at FROM sessions s
         WHERE s.owner IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM owners o WHERE o.owner = s.owner AND o.expires_at > ?)",
    )
    .bind(now.micros())
    .fetch_all(&mut *db)
    .await?;
    for row in dead {
        let mut head = Head::new(now);
        head.attempts = row.try_get("attempts")?;
        head.ready_at = row.try_get::<Option<i64>, _>("ready_at")?.map(Timestamp::from_micros);
        head.free_after_death(now);
        query("UPDATE sessions SET owner = NULL, attempts = ?, ready_at = ? WHERE number = ?")
            .bind(head.attempts)
            .bind(head.ready_at.map(Timestamp::micros))
            .bind(row.try_get::<i64, _>("number")?)
            .execute(&mut *db)
            .await?;
    }
    query("DELETE FROM owners WHERE expires_at <= ?")
        .bind(now.micros())
        .execute(db)
        .await?;
    Ok(())
}

/// What there is to claim, held by nobody or by the dead.
pub(super) async fn ready(pool: &SqlitePool, now: Timestamp) -> Result<ReadyCount, StoreError> {
    let row = query(
        "SELECT count(*) FILTER (WHERE ready_at <= ?1) AS ready, min(ready_at) AS next FROM
            (SELECT ready_at FROM sessions
             WHERE ready_at IS NOT NULL AND owner IS NULL AND quarantined = 0 AND archived_at IS NULL AND deleted_at IS NULL
             UNION ALL
             SELECT s.ready_at FROM sessions s
             WHERE s.owner IS NOT NULL AND s.ready_at IS NOT NULL AND s.quarantined = 0 AND s.archived_at IS NULL
                AND s.deleted_at IS NULL
                AND NOT EXISTS (SELECT 1 FROM owners o WHERE o.owner = s.owner AND o.expires_at > ?1))",
    )
    .bind(now.micros())
    .fetch_one(pool)
    .await
    .map_err(|error| failure::before_commit(&error))?;
    let cells = Cells {
        row: &row,
        table: "sessions",
        key: String::from("ready"),
    };
    let ready = cells.count("ready")?;
    let next: Option<i64> = cells.get("next")?;
    let until = |at: i64| {
        u64::try_from(at.saturating_sub(now.micros()))
            .unwrap_or(0)
            .div_ceil(1000)
    };
    Ok(ReadyCount {
        now: ready,
        next_millis: if ready > 0 { None } else { next.map(until) },
    })
}
