//! Accounts on a Postgres whose connections break at the worst moment, or say nothing any more.

use std::time::{Duration, Instant};

use perennial_api::accounts::postgres::PostgresAccounts;
use perennial_api::accounts::{Accounts as _, AccountsError};
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_engine::ports::{Idempotency, IdempotencyMode, StoreError};
use perennial_proof::proxy::{Cut, Faults, Proxy};
use perennial_tests::postgres::Shared;

use super::fixture::{agent, workspace};
use crate::fixture::database;

/// Accounts behind a fault proxy, as a server has them.
async fn behind_a_proxy() -> Option<(Proxy, Postgres, PostgresAccounts)> {
    let direct = database().await?;
    let port = Shared::get().unwrap()?.port;
    let upstream = format!("127.0.0.1:{port}");
    let proxy = Proxy::before_postgres(&upstream, "INSERT INTO agent_versions")
        .await
        .unwrap();
    let through = direct.replace(&format!(":{port}/"), &format!(":{}/", proxy.address().port()));
    let store = Postgres::open(&through, Settings::default()).await.unwrap();
    let accounts = PostgresAccounts::new(store.pool_for_accounts());
    Some((proxy, store, accounts))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_doubt_is_said_to_be_and_its_repetition_finds_it() {
    const CUTS: u64 = 20;
    let Some((proxy, _store, accounts)) = behind_a_proxy().await else {
        return;
    };
    let workspace = workspace();
    for round in 0..CUTS {
        let key = Idempotency {
            scope: "POST /v1/agents".into(),
            key: format!("k{round}"),
            body_hash: "x".into(),
            mode: IdempotencyMode::Key,
        };
        let first = agent(1);
        proxy.cut(Cut::Commit);
        let cut = accounts.create_agent(workspace, first.clone(), Some(key.clone())).await;
        assert!(
            matches!(cut, Err(AccountsError::Store(StoreError::Unknown { .. }))),
            "{cut:?}"
        );
        let again = accounts.create_agent(workspace, agent(2), Some(key)).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.resource, first, "it happened once");
    }
    assert_eq!(proxy.counters().cut_at_commit, CUTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_anywhere_leave_whole_changes_or_none() {
    const CUTS: u64 = 40;
    let Some((proxy, _store, accounts)) = behind_a_proxy().await else {
        return;
    };
    let workspace = workspace();
    let mut broken = 0;
    for round in 0..CUTS {
        let one = agent(1);
        proxy.cut(Cut::Answer { bytes: 1 + round * 7 });
        let acknowledged = accounts.create_agent(workspace, one.clone(), None).await.is_ok();
        proxy.heal();
        broken += u64::from(!acknowledged);
        let found = accounts.agent(workspace, one.snapshot.id, None).await.unwrap();
        let versions = accounts
            .agent_versions(workspace, one.snapshot.id, None, 2)
            .await
            .unwrap();
        assert_eq!(usize::from(found.is_some()), versions.len(), "whole, or not at all");
        assert!(found.is_some() || !acknowledged, "what was acknowledged is there");
    }
    assert!(broken > 0, "some were cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_hangs_nobody_and_is_used_again() {
    let Some((proxy, _store, accounts)) = behind_a_proxy().await else {
        return;
    };
    let workspace = workspace();
    let known = agent(1);
    accounts.create_agent(workspace, known.clone(), None).await.unwrap();
    proxy.set(Faults {
        swallow_answers: true,
        ..Faults::default()
    });
    let began = Instant::now();
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (accounts, id) = (accounts.clone(), known.snapshot.id);
            tokio::spawn(async move { accounts.agent(workspace, id, None).await })
        })
        .collect();
    for one in asked {
        assert!(one.await.unwrap().is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    proxy.heal();
    let found = accounts.agent(workspace, known.snapshot.id, None).await;
    assert_eq!(found.unwrap(), Some(known), "as soon as it speaks again");
    let next = accounts.create_agent(workspace, agent(2), None).await;
    assert!(!next.unwrap().replayed);
}
