//! Agents: versions that never change, pages newest first, tenants apart.

use perennial_api::accounts::{AccountsError, Listing};
use perennial_engine::ports::TimeBounds;
use perennial_schema::AgentId;

use super::fixture::{Books, agent, at, next_version, workspace};
use super::on_every_database;

on_every_database![
    an_agent_comes_back_as_it_was_stored,
    versions_follow_each_other_without_a_gap,
    of_two_who_change_the_same_version_one_wins,
    an_archived_agent_takes_no_version,
    pages_join_at_equal_times,
    bounds_and_archive_filter_pages,
    tenants_see_their_own,
];

async fn an_agent_comes_back_as_it_was_stored(books: Books) {
    let mut stored = agent(1);
    stored.snapshot.system = Some("line one\nline two \"quoted\" \u{1F331} \u{202e}\u{7f}".into());
    stored.metadata.insert("z".into(), "last first".into());
    stored.metadata.insert("a".into(), String::new());
    let made = books.add(&stored).await;
    assert!(!made.replayed);
    let found = books.accounts.agent(books.workspace, stored.snapshot.id, None).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found, stored);
    let order: Vec<_> = found.metadata.keys().map(String::as_str).collect();
    assert_eq!(order, ["z", "a"], "metadata keeps the client's order");
}

async fn versions_follow_each_other_without_a_gap(books: Books) {
    let first = agent(1);
    books.add(&first).await;
    let second = next_version(&first, 2);
    let third = next_version(&second, 3);
    let skipped = books.put(&third).await;
    assert!(matches!(skipped, Err(AccountsError::VersionMoved)));
    books.put(&second).await.unwrap();
    books.put(&third).await.unwrap();
    let (accounts, workspace, id) = (&books.accounts, books.workspace, first.snapshot.id);
    let versions = |before, limit| accounts.agent_versions(workspace, id, before, limit);
    let numbers = |agents: Vec<perennial_schema::agent::Agent>| -> Vec<u64> {
        agents.iter().map(|agent| agent.snapshot.version).collect()
    };
    assert_eq!(numbers(versions(None, 10).await.unwrap()), [3, 2, 1]);
    assert_eq!(numbers(versions(None, 2).await.unwrap()), [3, 2]);
    assert_eq!(numbers(versions(Some(2), 10).await.unwrap()), [1]);
    let newest = accounts.agent(workspace, id, None).await.unwrap().unwrap();
    assert_eq!((newest.snapshot.version, newest.created_at), (3, first.created_at));
    let oldest = accounts.agent(workspace, id, Some(1)).await.unwrap().unwrap();
    assert_eq!(oldest, first);
    assert!(accounts.agent(workspace, id, Some(4)).await.unwrap().is_none());
}

async fn of_two_who_change_the_same_version_one_wins(books: Books) {
    let first = agent(1);
    books.add(&first).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (books, mine) = (books.clone(), next_version(&first, 2 + writer));
            tokio::spawn(async move { books.put(&mine).await })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, AccountsError::VersionMoved), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

async fn an_archived_agent_takes_no_version(books: Books) {
    let first = agent(1);
    books.add(&first).await;
    let (accounts, workspace, id) = (&books.accounts, books.workspace, first.snapshot.id);
    let archived = accounts.archive_agent(workspace, id, at(5), None).await.unwrap();
    assert_eq!(archived.unwrap().archived_at, Some(at(5)));
    let again = accounts.archive_agent(workspace, id, at(9), None).await.unwrap();
    assert_eq!(again.unwrap().archived_at, Some(at(5)), "a second time changes nothing");
    let refused = books.put(&next_version(&first, 10)).await;
    assert!(matches!(refused, Err(AccountsError::VersionMoved)));
    let nobody = accounts
        .archive_agent(workspace, agent(1).snapshot.id, at(5), None)
        .await;
    assert!(nobody.unwrap().is_none());
}

fn listing(limit: u32) -> Listing<AgentId> {
    Listing {
        created: TimeBounds::default(),
        include_archived: false,
        cursor: None,
        limit,
    }
}

async fn pages_join_at_equal_times(books: Books) {
    let mut expected = Vec::new();
    for number in 0..12 {
        let agent = agent(1 + number / 4);
        books.add(&agent).await;
        expected.push((agent.created_at, agent.snapshot.id));
    }
    expected.sort_by_key(|(at, id)| std::cmp::Reverse((*at, id.to_string())));
    let mut seen = Vec::new();
    let mut page = listing(5);
    loop {
        let agents = books.accounts.agents(books.workspace, page.clone()).await.unwrap();
        let full = agents.len() == 5;
        seen.extend(agents.iter().map(|agent| (agent.created_at, agent.snapshot.id)));
        page.cursor = seen.last().copied();
        if !full {
            break;
        }
    }
    assert_eq!(seen, expected);
}

async fn bounds_and_archive_filter_pages(books: Books) {
    let mut ids = Vec::new();
    for number in 1..=5 {
        let agent = agent(number);
        books.add(&agent).await;
        ids.push(agent.snapshot.id);
    }
    books
        .accounts
        .archive_agent(books.workspace, ids[2], at(9), None)
        .await
        .unwrap();
    let count = |created: TimeBounds, include_archived| {
        let (accounts, workspace) = (books.accounts.clone(), books.workspace);
        async move {
            let page = Listing {
                created,
                include_archived,
                ..listing(50)
            };
            accounts.agents(workspace, page).await.unwrap().len()
        }
    };
    assert_eq!(count(TimeBounds::default(), false).await, 4);
    assert_eq!(count(TimeBounds::default(), true).await, 5);
    let inside = TimeBounds {
        gt: Some(at(1)),
        lte: Some(at(4)),
        ..TimeBounds::default()
    };
    assert_eq!(count(inside, true).await, 3);
    let outside = TimeBounds {
        gte: Some(at(1)),
        lt: Some(at(1)),
        ..TimeBounds::default()
    };
    assert_eq!(count(outside, true).await, 0);
}

async fn tenants_see_their_own(books: Books) {
    let mine = agent(1);
    books.add(&mine).await;
    let other = workspace();
    let (accounts, id) = (&books.accounts, mine.snapshot.id);
    assert!(accounts.agent(other, id, None).await.unwrap().is_none());
    assert!(accounts.agents(other, listing(10)).await.unwrap().is_empty());
    assert!(accounts.agent_versions(other, id, None, 10).await.unwrap().is_empty());
    assert!(accounts.archive_agent(other, id, at(2), None).await.unwrap().is_none());
    let stolen = accounts.put_agent_version(other, next_version(&mine, 2), None).await;
    assert!(matches!(stolen, Err(AccountsError::VersionMoved)));
    let untouched = accounts.agent(books.workspace, id, None).await.unwrap().unwrap();
    assert_eq!(untouched, mine);
}
