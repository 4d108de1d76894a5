//! Dropped calls (INVARIANTS §0.5): each has happened or not, and no connection is handed on inside somebody's transaction.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::fixture::{Books, agent};
use super::on_every_database;

on_every_database![dropped_calls_leave_no_transaction_behind];

/// Calls dropped.
const DROPPED: usize = 200;

async fn dropped_calls_leave_no_transaction_behind(books: Books) {
    let mut ids = Vec::new();
    for number in 0..DROPPED {
        let agent = agent(1);
        ids.push(agent.snapshot.id);
        let call = books.accounts.create_agent(books.workspace, agent, None);
        // Polled a few times, then dropped: the way a client that hangs up drops a handler.
        poll_a_little(call, number % 5).await;
    }
    // Whoever comes next finds working connections, as many as there are.
    let neighbours: Vec<_> = (0..16)
        .map(|_| {
            let books = books.clone();
            tokio::spawn(async move { books.add(&agent(2)).await })
        })
        .collect();
    for neighbour in neighbours {
        assert!(!neighbour.await.unwrap().replayed);
    }
    books.no_transaction_is_open().await;
    for id in ids {
        let found = books.accounts.agent(books.workspace, id, None).await.unwrap();
        let versions = books
            .accounts
            .agent_versions(books.workspace, id, None, 2)
            .await
            .unwrap();
        assert_eq!(usize::from(found.is_some()), versions.len(), "whole, or not at all");
    }
}

async fn poll_a_little(call: impl Future, times: usize) {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..=times {
        if call.as_mut().poll(&mut context).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
