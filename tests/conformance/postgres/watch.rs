//! The death watch: who dies is replaced at once, who lives is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perennial_broker::log::postgres::{Postgres, Watch};
use perennial_engine::ports::{Leases as _, Reach};
use perennial_schema::OwnerId;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{open, rig};
use crate::fixture::database;

/// Long, so that only the watch can free anybody in a test.
const TTL: u64 = 120_000;

struct Node {
    store: Arc<Postgres>,
    owner: OwnerId,
    freed: Arc<Notify>,
    watch: Option<Watch>,
}

async fn node(url: &str) -> Node {
    let store = open(url).await;
    let owner = OwnerId::from_uuid(Uuid::now_v7());
    store.register(owner, TTL, &Reach::default()).await.unwrap();
    let freed = Arc::new(Notify::new());
    let told = Arc::clone(&freed);
    let watch = store.watch(None, owner, Arc::new(move || told.notify_one())).unwrap();
    Node {
        store,
        owner,
        freed,
        watch: Some(watch),
    }
}

/// Until every one of them holds its lock and others can know.
async fn all_watched(url: &str, owners: i64) {
    use sqlx::Connection as _;
    let mut db = sqlx::PgConnection::connect(url).await.unwrap();
    let watched = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .fetch_one(&mut db)
            .await
            .unwrap();
            if waiting >= owners {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), watched).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_are_replaced_at_once() {
    let Some(url) = database().await else { return };
    let (mut dying, living) = (node(&url).await, node(&url).await);
    let rig = rig(&dying.store);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    assert_eq!(rig.claim(dying.owner, 1).await.len(), 1);
    all_watched(&url, 2).await;
    let died = Instant::now();
    // The end of the process, as the server sees it: its connections close.
    dying.watch = None;
    tokio::time::timeout(Duration::from_secs(10), living.freed.notified())
        .await
        .unwrap();
    let claimed = living.store.claim(living.owner, 1, &[]).await.unwrap();
    println!("replaced after {:?}", died.elapsed());
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].row.epoch, claimed[0].row.attempts), (2, 1));
    assert!(died.elapsed() < Duration::from_secs(2), "{:?}", died.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_is_no_death() {
    let Some(url) = database().await else { return };
    let (mut leaving, living) = (node(&url).await, node(&url).await);
    let rig = rig(&leaving.store);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    assert_eq!(rig.claim(leaving.owner, 1).await.len(), 1);
    all_watched(&url, 2).await;
    leaving.store.unregister(leaving.owner).await.unwrap();
    leaving.watch = None;
    let claimed = living.store.claim(living.owner, 1, &[]).await.unwrap();
    assert_eq!(claimed[0].row.attempts, 0);
    let told = tokio::time::timeout(Duration::from_millis(300), living.freed.notified()).await;
    assert!(told.is_err(), "nobody died");
}

/// Whoever lost connections itself says nothing about others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blind_give_no_verdict() {
    use sqlx::Connection as _;
    let Some(url) = database().await else { return };
    let (mut dying, living) = (node(&url).await, node(&url).await);
    let rig = rig(&dying.store);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    assert_eq!(rig.claim(dying.owner, 1).await.len(), 1);
    all_watched(&url, 2).await;
    let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
    // All waiting sides: the watchers' connections.
    let cut: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(cut, 2);
    dying.watch = None;
    let told = tokio::time::timeout(Duration::from_millis(800), living.freed.notified()).await;
    assert!(told.is_err(), "it cannot know");
    assert!(rig.store.get(key).await.unwrap().unwrap().held);
    // A supervisor that has reaped the child does.
    assert_eq!(living.store.bury(dying.owner).await.unwrap(), 1);
    assert_eq!(living.store.claim(living.owner, 1, &[]).await.unwrap().len(), 1);
}
