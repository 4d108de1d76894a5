//! A database that stops as in a crash and starts again: nothing acknowledged is lost, and nobody is taken for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use perennial_broker::log::postgres::migrate;
use perennial_engine::ports::{AppendError, Leases as _, Reach, Ready, StoreError};
use perennial_schema::OwnerId;
use perennial_tests::postgres::Postgres as Server;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{open, rig};
use crate::fixture::{Rig, client};

async fn server() -> Option<(Server, String)> {
    let Some(server) = Server::start().await.unwrap() else {
        perennial_tests::not_run("Postgres is not installed").unwrap();
        return None;
    };
    let url = server.url("postgres");
    migrate(&url, None).await.unwrap();
    Some((server, url))
}

/// Appends until told to stop, each until it is acknowledged; how many were.
async fn write(rig: Rig, key: perennial_engine::ports::SessionKey, stop: Arc<AtomicBool>) -> usize {
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let append = client(key, vec![rig.message("x")], Ready::Keep);
        loop {
            match rig.append(append.clone()).await {
                Ok(_) => break,
                Err(AppendError::Store(StoreError::Unknown { .. } | StoreError::Unavailable { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
        acknowledged += 1;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_nothing() {
    let Some((mut server, url)) = server().await else {
        return;
    };
    let rig = rig(&open(&url).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..6 {
        let key = rig.session().await;
        writers.push((key, tokio::spawn(write(rig.clone(), key, Arc::clone(&stop)))));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.stop_immediate().await.unwrap();
        server.run().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for (key, writer) in writers {
        let acknowledged = writer.await.unwrap();
        assert!(acknowledged > 3, "{acknowledged}");
        assert_eq!(rig.log(key).await.len(), acknowledged, "each exactly once");
    }
}

/// While it was down nobody could renew: for one time to live after the start nobody is dead, however late its lease is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_frees_nobody() {
    const TTL: u64 = 10_000;
    let Some((mut server, url)) = server().await else {
        return;
    };
    let store = open(&url).await;
    let rig = rig(&store);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    let (holder, other) = (OwnerId::from_uuid(Uuid::now_v7()), OwnerId::from_uuid(Uuid::now_v7()));
    store.register(holder, TTL, &Reach::default()).await.unwrap();
    assert_eq!(rig.claim(holder, 1).await.len(), 1);
    expire(&url).await;
    server.stop_immediate().await.unwrap();
    server.run().await.unwrap();
    // Another process, which has seen no failure.
    let neighbour = open(&url).await;
    neighbour.register(other, TTL, &Reach::default()).await.unwrap();
    assert!(neighbour.claim(other, 1, &[]).await.unwrap().is_empty());
    assert_eq!(store.renew(holder, TTL).await.unwrap().len(), 1, "the lease stands");
}

/// As if the owners had not renewed for long.
async fn expire(url: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    let sql = "UPDATE owners SET expires_at = clock_timestamp() - interval '1 s'";
    sqlx::query(sql).execute(&mut db).await.unwrap();
}

/// Whoever lost a connection calls nobody dead for one time to live; then it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blind_wait_for_one_time_to_live() {
    const TTL: u64 = 1000;
    let Some((mut server, url)) = server().await else {
        return;
    };
    let store = open(&url).await;
    let rig = rig(&store);
    let key = rig.session().await;
    rig.say(key, "hello").await;
    let (holder, other) = (OwnerId::from_uuid(Uuid::now_v7()), OwnerId::from_uuid(Uuid::now_v7()));
    store.register(holder, TTL, &Reach::default()).await.unwrap();
    assert_eq!(rig.claim(holder, 1).await.len(), 1);
    server.stop_immediate().await.unwrap();
    server.run().await.unwrap();
    let restarted = Instant::now();
    let taken = async {
        loop {
            store.register(other, TTL, &Reach::default()).await.unwrap();
            if let Some(claimed) = store.claim(other, 1, &[]).await.unwrap().pop() {
                return claimed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(30), taken).await.unwrap();
    assert!(
        restarted.elapsed() >= Duration::from_millis(TTL - 100),
        "{:?}",
        restarted.elapsed()
    );
    assert_eq!((taken.row.epoch, taken.row.attempts), (2, 1));
}
