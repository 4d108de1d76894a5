//! The changes of a mailbox: whoever reads on from a place misses none of them.

use std::collections::BTreeMap;
use std::time::Duration;

use perennial_engine::ports::{ChangeCursor, HandOver, Message, Receipt, Return};
use perennial_schema::mail::{Address, MailState};
use perennial_schema::{MessageId, SessionId};
use uuid::Uuid;

use super::fixture::{Desk, key, letter, queue, session};
use crate::fixture::workspace;

super::on_every_post!(every_change_of_state_is_told, nobody_reads_past_a_send);

/// Everything behind a place, in pages of one.
async fn behind(desk: &Desk, to: &Address, place: &mut Option<ChangeCursor>) -> Vec<(MessageId, MailState)> {
    let mut told = Vec::new();
    loop {
        let page = desk.elsewhere.changes(desk.workspace, to, *place, 1).await.unwrap();
        let Some((cursor, message)) = page.into_iter().next() else {
            return told;
        };
        assert!(Some(cursor) > *place, "the order of changes");
        *place = Some(cursor);
        told.push((message.letter.id, message.state));
    }
}

/// The same, as soon as there are so many: another test's open transaction may hold the newest back for a moment.
async fn news(
    desk: &Desk,
    to: &Address,
    place: &mut Option<ChangeCursor>,
    expected: usize,
) -> Vec<(MessageId, MailState)> {
    let mut news = Vec::new();
    let collect = async {
        loop {
            news.extend(behind(desk, to, place).await);
            if news.len() >= expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(10), collect).await.is_err() {
        panic!("{} changes, expected {expected}", news.len());
    }
    news
}

async fn every_change_of_state_is_told(desk: Desk) {
    let (to, other) = (queue("feed"), session());
    let mut place = None;
    assert_eq!(desk.post.latest_change(desk.workspace, &to).await.unwrap(), None);
    let first = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    let second = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    let elsewhere = desk.send(letter(&key(), &other)).await.unwrap();
    assert_eq!(
        news(&desk, &to, &mut place, 2).await,
        [(first, MailState::Queued), (second, MailState::Queued)]
    );
    assert_eq!(desk.post.latest_change(desk.workspace, &to).await.unwrap(), place);
    let from_here = place;
    let received = desk.post.receive(desk.workspace, &to, 1, 1_000).await.unwrap();
    assert_eq!(news(&desk, &to, &mut place, 1).await, [(first, MailState::Leased)]);
    let receipt = |message: &Message| Receipt {
        message: message.letter.id,
        round: message.round,
    };
    let receipt = receipt(&received[0]);
    desk.post
        .give_back(desk.workspace, receipt, Return::Reject(0))
        .await
        .unwrap();
    assert_eq!(news(&desk, &to, &mut place, 1).await, [(first, MailState::Queued)]);
    assert!(desk.post.cancel(desk.workspace, second).await.unwrap());
    let again = desk.post.receive(desk.workspace, &to, 1, 1_000).await.unwrap();
    let receipt = Receipt {
        message: again[0].letter.id,
        round: again[0].round,
    };
    desk.post
        .give_back(desk.workspace, receipt, Return::Acknowledge)
        .await
        .unwrap();
    let expected = [(second, MailState::Cancelled), (first, MailState::Acknowledged)];
    assert_eq!(
        news(&desk, &to, &mut place, 2).await,
        expected,
        "the last of several changes counts"
    );
    // Whoever was away since the beginning is told of each as it is now.
    let mut late = from_here;
    assert_eq!(news(&desk, &to, &mut late, 2).await, expected);
    assert_eq!(news(&desk, &to, &mut None, 2).await, expected);
    // Another mailbox's are its own, and so are another workspace's.
    let mut place = None;
    assert_eq!(
        news(&desk, &other, &mut place, 1).await,
        [(elsewhere.letter.id, MailState::Queued)]
    );
    let taken = desk.post.take(10, 1_000).await.unwrap();
    let taken = taken
        .iter()
        .find(|taken| taken.letter.id == elsewhere.letter.id)
        .unwrap();
    assert!(
        behind(&desk, &other, &mut place).await.is_empty(),
        "on its way is no state"
    );
    let there = HandOver::Delivered(SessionId::from_uuid(Uuid::now_v7()));
    assert!(desk.post.settle(taken, &there).await.unwrap());
    assert_eq!(
        news(&desk, &other, &mut place, 1).await,
        [(elsewhere.letter.id, MailState::Delivered)]
    );
    assert!(desk.post.changes(workspace(), &to, None, 9).await.unwrap().is_empty());
}

/// Sends whose commits overtake each other: a reader that goes on from wherever it is has all of them in the end.
async fn nobody_reads_past_a_send(desk: Desk) {
    let to = queue("busy");
    let desk = std::sync::Arc::new(desk);
    let senders = (0..4).map(|_| {
        let (desk, to) = (desk.clone(), to.clone());
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..10 {
                sent.push(desk.send(letter(&key(), &to)).await.unwrap().letter.id);
            }
            sent
        })
    });
    let senders: Vec<_> = senders.collect();
    let (mut place, mut seen) = (None, BTreeMap::new());
    while senders.iter().any(|sender| !sender.is_finished()) {
        seen.extend(behind(&desk, &to, &mut place).await);
        tokio::task::yield_now().await;
    }
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    // Another test's transaction may hold the newest back for a moment.
    for _ in 0..200 {
        seen.extend(behind(&desk, &to, &mut place).await);
        if seen.len() == sent.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        sent.iter().all(|id| seen.contains_key(id)),
        "{} of {}",
        seen.len(),
        sent.len()
    );
}
