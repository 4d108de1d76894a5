//! What a claim costs: what is parked, what others wait for, and what cannot be vacuumed away is not read.

use std::time::{Duration, Instant};

use perennial_broker::log::postgres::Postgres;
use perennial_engine::ports::{Leases as _, Reach, Ready, SessionKey, Sessions as _};
use perennial_schema::{OwnerId, SessionId};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::open;
use crate::fixture::{database, new_session, workspace};

const LIVES: u64 = 600_000;
const CLAIMS: usize = 60;

async fn owner(store: &Postgres, harness: &str) -> OwnerId {
    let owner = OwnerId::from_uuid(Uuid::now_v7());
    let reach = Reach {
        harnesses: Some(vec![harness.to_owned()]),
        ..Reach::default()
    };
    store.register(owner, LIVES, &reach).await.unwrap();
    owner
}

/// The medians of claims that find nothing in each of two databases, in turn: a busy machine is busy for both.
async fn costs(stores: [(&Postgres, OwnerId); 2]) -> [Duration; 2] {
    let mut took = [Vec::with_capacity(CLAIMS), Vec::with_capacity(CLAIMS)];
    for _ in 0..CLAIMS {
        for ((store, owner), took) in stores.iter().zip(&mut took) {
            let begun = Instant::now();
            assert!(store.claim(*owner, 8, &[]).await.unwrap().is_empty());
            took.push(begun.elapsed());
        }
    }
    took.map(|mut took| {
        took.sort_unstable();
        took[CLAIMS / 2]
    })
}

#[tokio::test]
async fn a_claim_reads_neither_what_is_parked_nor_what_is_for_others() {
    let (Some(url), Some(empty_url)) = (database().await, database().await) else {
        return;
    };
    let (full, empty) = (open(&url).await, open(&empty_url).await);
    let (mine, _theirs) = (owner(&full, "native").await, owner(&full, "codex").await);
    let alone = owner(&empty, "native").await;
    let mut db = PgConnection::connect(&url).await.unwrap();
    db.execute(
        "INSERT INTO sessions (agent_version, created_at, workspace_id, id, agent_id, updated_at, harness, ready_at)
         SELECT 1, now(), md5((i % 50)::text)::uuid, gen_random_uuid(), gen_random_uuid(), now(),
            CASE WHEN i <= 10000 THEN 'native' ELSE 'codex' END, CASE WHEN i > 10000 THEN now() - interval '1 hour' END
         FROM generate_series(1, 20000) AS i",
    )
    .await
    .unwrap();
    // As autovacuum does within a minute.
    db.execute("ANALYZE sessions").await.unwrap();
    let both: [(&Postgres, OwnerId); 2] = [(&empty, alone), (&full, mine)];
    costs(both).await;
    let [empty, full] = costs(both).await;
    println!(
        "\na claim that finds nothing, p50 of {CLAIMS}: {empty:?} in an empty database, {full:?} with 10,000 sessions parked \
         and 10,000 of 50 workspaces ready for others"
    );
    // Reading them would take ten times as long.
    assert!(full < empty * 5 + Duration::from_millis(2), "{empty:?} {full:?}");
    db.close().await.unwrap();
}

/// While somebody's transaction is open, what was claimable once stays in the index: what becomes ready is found all the same, and
/// without reading that, and so is what becomes claimable with an old time.
#[tokio::test]
async fn a_claim_does_not_read_what_an_old_transaction_keeps() {
    let (Some(url), Some(empty_url)) = (database().await, database().await) else {
        return;
    };
    let (kept, empty) = (open(&url).await, open(&empty_url).await);
    let (mine, theirs) = (owner(&kept, "native").await, owner(&kept, "native").await);
    let alone = owner(&empty, "native").await;
    let mut db = PgConnection::connect(&url).await.unwrap();
    let keys: Vec<SessionKey> = (0..2)
        .map(|_| SessionKey {
            workspace: workspace(),
            session: SessionId::from_uuid(Uuid::now_v7()),
        })
        .collect();
    for key in &keys {
        kept.create(new_session(*key), None).await.unwrap();
    }
    db.execute(
        "INSERT INTO sessions (agent_version, created_at, workspace_id, id, agent_id, updated_at)
         SELECT 1, now(), md5('many')::uuid, gen_random_uuid(), gen_random_uuid(), now() FROM generate_series(1, 1000)",
    )
    .await
    .unwrap();
    let mut idle = PgConnection::connect(&url).await.unwrap();
    idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    idle.execute("SELECT count(*) FROM sessions").await.unwrap();
    for _ in 0..20 {
        for moved in [
            "UPDATE sessions SET ready_at = now() - interval '1 hour'",
            "UPDATE sessions SET owner = (SELECT owner FROM owners LIMIT 1)",
            "UPDATE sessions SET owner = NULL, ready_at = NULL",
        ] {
            db.execute(moved).await.unwrap();
        }
    }
    // It tells how many rows are dead when it goes.
    db.close().await.unwrap();

    let both: [(&Postgres, OwnerId); 2] = [(&empty, alone), (&kept, mine)];
    costs(both).await;
    let [empty, full] = costs(both).await;
    println!(
        "\na claim that finds nothing, p50 of {CLAIMS}: {empty:?} in an empty database, {full:?} with 60,000 dead rows"
    );
    // Reading them would take ten times as long.
    assert!(full < empty * 5 + Duration::from_millis(2), "{empty:?} {full:?}");

    let claims = async |key: SessionKey| {
        let claimed = kept.claim(mine, 8, &[]).await.unwrap();
        let found: Vec<SessionKey> = claimed.iter().map(|claimed| claimed.row.key).collect();
        assert!(found.is_empty() || found == [key], "{found:?}");
        for claimed in &claimed {
            let row = &claimed.row;
            kept.release(key, row.epoch, Ready::Never, row.head).await.unwrap();
        }
        !found.is_empty()
    };
    let mut db = PgConnection::connect(&url).await.unwrap();
    let set = async |db: &mut PgConnection, sql: &'static str, values: &[Uuid]| {
        let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(*value));
        query.execute(db).await.unwrap();
    };
    let [first, second] = [keys[0], keys[1]];
    // As of now, as a message makes it: the next claim.
    set(
        &mut db,
        "UPDATE sessions SET ready_at = clock_timestamp(), revision = revision + 1 WHERE id = $1",
        &[first.session.uuid()],
    )
    .await;
    assert!(claims(first).await, "what became ready is found at once");
    // Of old, as another process gives it back: soon.
    let old = "UPDATE sessions SET ready_at = now() - interval '1 hour', revision = revision + 1 WHERE id = $1";
    set(&mut db, old, &[second.session.uuid()]).await;
    let begun = Instant::now();
    while !claims(second).await {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "what is ready of old is not found"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Of old, and its owner is dead: whoever frees it takes it.
    let held =
        "UPDATE sessions SET ready_at = now() - interval '1 hour', owner = $2, revision = revision + 1 WHERE id = $1";
    set(&mut db, held, &[first.session.uuid(), theirs.uuid()]).await;
    assert!(!claims(first).await, "its owner lives");
    let dies = "UPDATE owners SET expires_at = now() - interval '1 minute', ttl = '1 millisecond' WHERE owner = $1";
    set(&mut db, dies, &[theirs.uuid()]).await;
    assert!(claims(first).await, "what a dead owner held is found at once");
    idle.close().await.unwrap();
    db.close().await.unwrap();
}
