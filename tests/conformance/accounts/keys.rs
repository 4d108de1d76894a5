//! The first workspace and the first key.

use perennial_api::accounts::Secret;

use super::fixture::{Books, at};
use super::on_every_database;

on_every_database![
    servers_that_start_together_make_one_workspace_and_one_key,
    a_known_key_is_found_and_a_foreign_one_is_not,
    a_lost_key_is_replaced_where_one_server_owns_the_database,
    only_the_hash_of_a_key_is_kept,
    a_login_of_the_console_lasts_until_it_is_ended_or_old,
];

async fn servers_that_start_together_make_one_workspace_and_one_key(books: Books) {
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let accounts = books.accounts.clone();
            tokio::spawn(async move { accounts.ensure_first_key(None, at(1)).await })
        })
        .collect();
    let mut ensured = Vec::new();
    for start in starts {
        ensured.push(start.await.unwrap().unwrap());
    }
    let fresh: Vec<_> = ensured.iter().filter_map(|one| one.fresh.as_ref()).collect();
    assert_eq!(fresh.len(), 1, "one of eight is told the key");
    assert!(ensured.iter().all(|one| one.workspace == ensured[0].workspace));
    let again = books.accounts.ensure_first_key(None, at(2)).await.unwrap();
    assert!(again.fresh.is_none() && !again.known);
}

async fn a_known_key_is_found_and_a_foreign_one_is_not(books: Books) {
    let first = books.accounts.ensure_first_key(None, at(1)).await.unwrap();
    let key = first.fresh.unwrap();
    let stored = books.accounts.key(key.id).await.unwrap().unwrap();
    assert!(stored.hash.matches(&key) && stored.workspace == first.workspace);
    let again = books.accounts.ensure_first_key(Some(&key), at(2)).await.unwrap();
    assert!(again.known && again.fresh.is_none() && again.workspace == first.workspace);
    let foreign = Secret::generate().unwrap();
    assert!(books.accounts.key(foreign.id).await.unwrap().is_none());
    let refused = books.accounts.ensure_first_key(Some(&foreign), at(3)).await.unwrap();
    assert!(!refused.known && refused.fresh.is_none());
}

async fn a_lost_key_is_replaced_where_one_server_owns_the_database(books: Books) {
    let first = books.accounts.ensure_workspace_and_key(None, at(1)).await.unwrap();
    let second = books.accounts.ensure_workspace_and_key(None, at(2)).await.unwrap();
    assert_eq!(first.workspace, second.workspace);
    let (first, second) = (first.fresh.unwrap(), second.fresh.unwrap());
    assert_ne!(first.id, second.id);
    let known = books
        .accounts
        .ensure_workspace_and_key(Some(&second), at(3))
        .await
        .unwrap();
    assert!(known.known && known.fresh.is_none());
}

async fn only_the_hash_of_a_key_is_kept(books: Books) {
    let first = books.accounts.ensure_first_key(None, at(1)).await.unwrap();
    let key = first.fresh.unwrap();
    // What stands after the id; it may hold a `_` itself.
    let secret = key.expose().splitn(3, '_').nth(2).unwrap();
    let stored = books
        .texts("SELECT CAST(name AS TEXT) || ' ' || id || ' ' || workspace_id FROM api_keys")
        .await;
    assert_eq!(stored.len(), 1);
    assert!(!stored[0].contains(secret));
    let hash = books.accounts.key(key.id).await.unwrap().unwrap().hash;
    assert_ne!(&hash.0[..], key.expose().as_bytes());
}

async fn a_login_of_the_console_lasts_until_it_is_ended_or_old(books: Books) {
    let first = books.accounts.ensure_first_key(None, at(1)).await.unwrap();
    let (workspace, login) = (first.workspace, Secret::login().unwrap());
    books
        .accounts
        .add_login(workspace, &login, at(10), at(0))
        .await
        .unwrap();
    let stored = books.accounts.login(login.id, at(9)).await.unwrap().unwrap();
    assert!(stored.hash.matches(&login) && stored.workspace == workspace);
    assert!(
        books.accounts.login(login.id, at(10)).await.unwrap().is_none(),
        "it is too old"
    );
    // It is no key, and it does not stand in for the first one.
    assert!(books.accounts.key(login.id).await.unwrap().is_none());
    assert!(
        books
            .accounts
            .login(first.fresh.unwrap().id, at(0))
            .await
            .unwrap()
            .is_none()
    );
    // A later login clears away those that are over.
    let next = Secret::login().unwrap();
    books
        .accounts
        .add_login(workspace, &next, at(20), at(10))
        .await
        .unwrap();
    assert!(books.accounts.login(login.id, at(0)).await.unwrap().is_none());
    books.accounts.end_login(next.id).await.unwrap();
    books.accounts.end_login(next.id).await.unwrap();
    assert!(books.accounts.login(next.id, at(0)).await.unwrap().is_none());
}
