//! Connections that break at the worst moment: every acknowledged append is there once, and what is in doubt is looked up (I2).

use std::time::{Duration, Instant};

use perennial_engine::ports::{AppendError, Ready, StoreError};
use perennial_proof::proxy::{Cut, Faults, Proxy};
use perennial_tests::postgres::Shared;

use super::{also, open, rig};
use crate::fixture::{client, database, holder};

/// A store behind a fault proxy, and one that is not, on the same database.
async fn behind_a_proxy() -> Option<(Proxy, String, String)> {
    let direct = database().await?;
    let port = Shared::get().unwrap()?.port;
    let proxy = Proxy::before_postgres(&format!("127.0.0.1:{port}"), "INSERT INTO commits")
        .await
        .unwrap();
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    Some((proxy, through, direct))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_doubt_is_looked_up() {
    const CUTS: u64 = 20;
    let Some((proxy, through, direct)) = behind_a_proxy().await else {
        return;
    };
    let store = open(&through).await;
    let rig = rig(&store);
    let (key, _, epoch) = rig.held().await;
    for n in 0..CUTS {
        proxy.cut(Cut::Commit);
        let append = holder(key, epoch, vec![rig.answer_text(&n.to_string())]);
        let done = rig.append(append).await.unwrap();
        assert_eq!(done.last_seq, n + 2, "it happened once");
        assert!(!proxy.is_armed());
    }
    assert_eq!(proxy.counters().cut_at_commit, CUTS);
    assert_eq!(store.resolved_ambiguous(), CUTS);
    let log = also(&rig, &open(&direct).await).log(key).await;
    assert_eq!(log.len() as u64, CUTS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_doubt_is_looked_up_one_by_one() {
    let Some((proxy, through, _)) = behind_a_proxy().await else {
        return;
    };
    let store = open(&through).await;
    let rig = rig(&store);
    let mut keys = Vec::new();
    for _ in 0..32 {
        keys.push(rig.session().await);
    }
    for _ in 0..5 {
        proxy.cut(Cut::Commit);
        let all: Vec<_> = keys
            .iter()
            .map(|key| {
                let (rig, append) = (rig.clone(), client(*key, vec![rig.message("hi")], Ready::Keep));
                tokio::spawn(async move { rig.append(append).await })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
    }
    for key in keys {
        assert_eq!(rig.log(key).await.len(), 5);
    }
    assert!(store.resolved_ambiguous() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_hangs_nobody() {
    let Some((proxy, through, _)) = behind_a_proxy().await else {
        return;
    };
    let store = open(&through).await;
    let rig = rig(&store);
    let key = rig.session().await;
    // Now the writer knows the row of a session at rest, so that the next thing it sends is the commit.
    let hello = client(key, vec![rig.message("hello")], Ready::Keep);
    rig.append(hello).await.unwrap();
    proxy.set(Faults {
        swallow_answers: true,
        ..Faults::default()
    });
    let append = client(key, vec![rig.message("hi")], Ready::Keep);
    let began = Instant::now();
    let error = rig.append(append.clone()).await.unwrap_err();
    assert!(
        matches!(error, AppendError::Store(StoreError::Unknown { .. })),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    proxy.heal();
    proxy.drop_connections();
    let done = rig.append(append).await.unwrap();
    assert!(done.replayed, "it had happened");
    assert_eq!(rig.log(key).await.len(), 2);
}

/// Two processes write to the same sessions: whoever saw an old row looks again, and nobody writes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_sessions() {
    const EACH: usize = 50;
    let Some(url) = database().await else { return };
    let one = rig(&open(&url).await);
    let two = also(&one, &open(&url).await);
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(one.session().await);
    }
    let mut all = Vec::new();
    for rig in [&one, &two] {
        for key in &keys {
            let (rig, key) = (rig.clone(), *key);
            all.push(tokio::spawn(async move {
                for _ in 0..EACH {
                    let append = client(key, vec![rig.message("x")], Ready::Now);
                    rig.append(append).await.unwrap();
                }
            }));
        }
    }
    for one in all {
        one.await.unwrap();
    }
    for key in keys {
        let log = one.log(key).await;
        let seqs: Vec<u64> = log.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=2 * EACH as u64).collect::<Vec<_>>());
    }
}
