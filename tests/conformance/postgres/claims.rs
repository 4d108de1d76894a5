//! What a claim costs: what is parked and what others wait for is not read.

use std::time::{Duration, Instant};

use perennial_broker::log::postgres::Postgres;
use perennial_engine::ports::{Leases as _, Reach};
use perennial_schema::OwnerId;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::open;
use crate::fixture::database;

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
