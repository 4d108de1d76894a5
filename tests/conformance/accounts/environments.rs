//! Environments: names are unique among those in use.

use perennial_api::accounts::{AccountsError, Listing};
use perennial_engine::ports::TimeBounds;

use super::fixture::{Books, at, environment, workspace};
use super::on_every_database;

on_every_database![
    an_environment_comes_back_as_it_was_stored,
    a_name_is_taken_once_and_free_after_its_archive,
    of_many_who_want_a_name_one_gets_it,
    what_is_gone_stays_gone,
    pages_leave_archived_ones_out,
];

async fn an_environment_comes_back_as_it_was_stored(books: Books) {
    let mut stored = environment("Grüße \u{1F331}\n", 3);
    stored.description = "for \"people\"".into();
    stored.metadata.insert("k".into(), "v".into());
    let made = books.accounts.create_environment(books.workspace, stored.clone(), None);
    assert_eq!(made.await.unwrap().resource, stored);
    let mut changed = stored.clone();
    changed.name = "other".into();
    changed.updated_at = at(7);
    let put = books.accounts.put_environment(books.workspace, changed.clone(), None);
    assert_eq!(put.await.unwrap(), Some(changed.clone()));
    let found = books.accounts.environment(books.workspace, stored.id).await.unwrap();
    assert_eq!(found, Some(changed));
    assert!(
        books
            .accounts
            .environment(workspace(), stored.id)
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_name_is_taken_once_and_free_after_its_archive(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let mut first = environment("build", 1);
    accounts
        .create_environment(workspace, first.clone(), None)
        .await
        .unwrap();
    let second = accounts
        .create_environment(workspace, environment("build", 2), None)
        .await;
    assert!(matches!(second, Err(AccountsError::NameTaken(name)) if name == "build"));
    let elsewhere = accounts
        .create_environment(super::fixture::workspace(), environment("build", 2), None)
        .await;
    elsewhere.unwrap();
    let third = environment("test", 3);
    accounts
        .create_environment(workspace, third.clone(), None)
        .await
        .unwrap();
    let mut renamed = third;
    renamed.name = "build".into();
    let refused = accounts.put_environment(workspace, renamed.clone(), None).await;
    assert!(matches!(refused, Err(AccountsError::NameTaken(_))));
    first.archived_at = Some(at(4));
    accounts.put_environment(workspace, first, None).await.unwrap();
    assert!(
        accounts
            .put_environment(workspace, renamed, None)
            .await
            .unwrap()
            .is_some()
    );
}

async fn of_many_who_want_a_name_one_gets_it(books: Books) {
    let rivals: Vec<_> = (0..8)
        .map(|_| {
            let (accounts, workspace) = (books.accounts.clone(), books.workspace);
            tokio::spawn(async move {
                accounts
                    .create_environment(workspace, environment("one", 1), None)
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for rival in rivals {
        match rival.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, AccountsError::NameTaken(_)), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

async fn what_is_gone_stays_gone(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    let gone = environment("gone", 1);
    accounts
        .create_environment(workspace, gone.clone(), None)
        .await
        .unwrap();
    assert!(
        !accounts
            .delete_environment(super::fixture::workspace(), gone.id)
            .await
            .unwrap()
    );
    assert!(accounts.delete_environment(workspace, gone.id).await.unwrap());
    assert!(!accounts.delete_environment(workspace, gone.id).await.unwrap());
    assert!(
        accounts
            .put_environment(workspace, gone.clone(), None)
            .await
            .unwrap()
            .is_none()
    );
    assert!(accounts.environment(workspace, gone.id).await.unwrap().is_none());
}

async fn pages_leave_archived_ones_out(books: Books) {
    let (accounts, workspace) = (&books.accounts, books.workspace);
    for number in 1..=4_i64 {
        let mut environment = environment(&format!("n{number}"), number);
        accounts
            .create_environment(workspace, environment.clone(), None)
            .await
            .unwrap();
        if number == 2 {
            environment.archived_at = Some(at(9));
            accounts.put_environment(workspace, environment, None).await.unwrap();
        }
    }
    let page = |include_archived, cursor, limit| Listing {
        created: TimeBounds::default(),
        include_archived,
        cursor,
        limit,
    };
    let names = |found: Vec<perennial_schema::environment::Environment>| -> Vec<String> {
        found.into_iter().map(|environment| environment.name).collect()
    };
    let shown = accounts.environments(workspace, page(false, None, 10)).await.unwrap();
    assert_eq!(names(shown), ["n4", "n3", "n1"]);
    let all = accounts.environments(workspace, page(true, None, 3)).await.unwrap();
    let cursor = all.last().map(|last| (last.created_at, last.id));
    assert_eq!(names(all), ["n4", "n3", "n2"]);
    let rest = accounts.environments(workspace, page(true, cursor, 3)).await.unwrap();
    assert_eq!(names(rest), ["n1"]);
}
