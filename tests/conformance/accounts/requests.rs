//! Idempotency keys (I19): a request and its repetitions make one thing.

use perennial_api::accounts::{AccountsError, Earlier};
use perennial_engine::ports::{Idempotency, IdempotencyMode};
use perennial_schema::Timestamp;

use super::fixture::{Books, agent, at, environment, next_version, workspace};
use super::on_every_database;

on_every_database![
    a_repetition_gets_the_first_answer,
    repetitions_at_the_same_moment_make_one_thing,
    another_body_is_refused,
    an_sdk_retry_is_honoured_for_a_minute,
    keys_are_forgotten_in_time,
    keys_of_tenants_and_routes_are_apart,
    what_a_refused_request_asked_is_not_remembered,
    requests_that_change_nothing_are_remembered_too,
];

const SECOND: i64 = 1_000_000;

fn key(name: &str, body: &str) -> Idempotency {
    Idempotency {
        scope: "POST /v1/agents".into(),
        key: name.into(),
        body_hash: body.into(),
        mode: IdempotencyMode::Key,
    }
}

async fn a_repetition_gets_the_first_answer(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let first = agent(1);
    let made = accounts
        .create_agent(workspace, first.clone(), Some(key("a", "x")))
        .await;
    assert!(!made.unwrap().replayed);
    books.put(&next_version(&first, 2)).await.unwrap();
    let again = accounts
        .create_agent(workspace, agent(3), Some(key("a", "x")))
        .await
        .unwrap();
    assert!(again.replayed);
    assert_eq!(again.resource, first, "as the request left it, not as it is now");
    assert_eq!(
        accounts.recalled(workspace, &key("a", "x"), at(4)).await.unwrap(),
        Some(Earlier::agent(first.snapshot.id, 1))
    );
    let env = environment("e", 1);
    let made = accounts
        .create_environment(workspace, env.clone(), Some(key("b", "y")))
        .await;
    assert!(!made.unwrap().replayed);
    let again = accounts
        .create_environment(workspace, environment("e", 2), Some(key("b", "y")))
        .await;
    assert_eq!(again.unwrap().resource, env, "not refused for its own name");
    let archived = accounts
        .archive_agent(workspace, first.snapshot.id, at(5), Some(key("c", "z")))
        .await;
    let again = accounts
        .archive_agent(workspace, first.snapshot.id, at(6), Some(key("c", "z")))
        .await;
    assert_eq!(archived.unwrap(), again.unwrap());
}

async fn repetitions_at_the_same_moment_make_one_thing(books: Books) {
    for round in 0..10 {
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let (accounts, workspace) = (books.accounts.clone(), books.workspace);
                let key = key(&format!("k{round}"), "x");
                tokio::spawn(async move { accounts.create_agent(workspace, agent(round), Some(key)).await })
            })
            .collect();
        let mut made = Vec::new();
        for one in tries {
            made.push(one.await.unwrap().unwrap());
        }
        assert_eq!(made.iter().filter(|one| !one.replayed).count(), 1);
        assert!(made.iter().all(|one| one.resource == made[0].resource));
    }
    let stored = books.texts("SELECT id FROM agents").await;
    assert_eq!(stored.len(), 10);
}

async fn another_body_is_refused(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    accounts
        .create_agent(workspace, agent(1), Some(key("a", "x")))
        .await
        .unwrap();
    let other = accounts
        .create_agent(workspace, agent(1), Some(key("a", "other")))
        .await;
    assert!(matches!(other, Err(AccountsError::KeyReused)));
    let asked = accounts.recalled(workspace, &key("a", "other"), at(2)).await;
    assert!(matches!(asked, Err(AccountsError::KeyReused)));
}

async fn an_sdk_retry_is_honoured_for_a_minute(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let with = |mode| Idempotency {
        mode,
        ..key("sdk:1", "x")
    };
    let later = |seconds: i64| {
        let mut agent = agent(1);
        agent.created_at = Timestamp::from_micros(agent.created_at.micros() + seconds * SECOND);
        agent
    };
    let first = accounts.create_agent(workspace, later(0), Some(with(IdempotencyMode::Remember)));
    assert!(!first.await.unwrap().replayed);
    let retry = accounts.create_agent(workspace, later(59), Some(with(IdempotencyMode::Retry)));
    assert!(retry.await.unwrap().replayed);
    let late = accounts.create_agent(workspace, later(61), Some(with(IdempotencyMode::Retry)));
    assert!(!late.await.unwrap().replayed);
    let anew = accounts.create_agent(workspace, later(62), Some(with(IdempotencyMode::Remember)));
    assert!(!anew.await.unwrap().replayed, "the same body is meant again");
}

async fn keys_are_forgotten_in_time(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    accounts
        .create_agent(workspace, agent(1), Some(key("old", "x")))
        .await
        .unwrap();
    let mut later = agent(1);
    later.created_at = Timestamp::from_micros(later.created_at.micros() + 25 * 3600 * SECOND);
    let day = accounts
        .recalled(workspace, &key("old", "x"), later.created_at)
        .await
        .unwrap();
    assert!(day.is_some(), "a day later it is honoured");
    later.created_at = Timestamp::from_micros(later.created_at.micros() + 24 * 3600 * SECOND);
    accounts
        .create_agent(workspace, later, Some(key("new", "x")))
        .await
        .unwrap();
    assert_eq!(books.texts("SELECT key FROM account_idempotency").await, ["new"]);
}

async fn keys_of_tenants_and_routes_are_apart(books: Books) {
    let accounts = &books.accounts;
    accounts
        .create_agent(books.workspace, agent(1), Some(key("a", "x")))
        .await
        .unwrap();
    let other = accounts
        .create_agent(workspace(), agent(1), Some(key("a", "other")))
        .await;
    assert!(!other.unwrap().replayed);
    let mut route = key("a", "other");
    route.scope = "POST /v1/agents/agent_1".into();
    let other = accounts.create_agent(books.workspace, agent(1), Some(route)).await;
    assert!(!other.unwrap().replayed);
}

async fn what_a_refused_request_asked_is_not_remembered(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let first = agent(1);
    books.add(&first).await;
    let skipped = next_version(&next_version(&first, 2), 3);
    let refused = accounts
        .put_agent_version(workspace, skipped, Some(key("a", "x")))
        .await;
    assert!(matches!(refused, Err(AccountsError::VersionMoved)));
    assert!(
        accounts
            .recalled(workspace, &key("a", "x"), at(3))
            .await
            .unwrap()
            .is_none()
    );
    let good = accounts
        .put_agent_version(workspace, next_version(&first, 2), Some(key("a", "x")))
        .await;
    assert!(!good.unwrap().replayed);
}

async fn requests_that_change_nothing_are_remembered_too(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let made = Earlier::environment(environment("e", 1).id);
    accounts
        .remember(workspace, key("a", "x"), made.clone(), at(1))
        .await
        .unwrap();
    assert_eq!(
        accounts.recalled(workspace, &key("a", "x"), at(2)).await.unwrap(),
        Some(made)
    );
    let other = accounts.recalled(workspace, &key("a", "other"), at(2)).await;
    assert!(matches!(other, Err(AccountsError::KeyReused)));
}
