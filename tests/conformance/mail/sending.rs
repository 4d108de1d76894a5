//! A message is there once, under its id, in its workspace, where there is room.

use perennial_engine::ports::{Letter, MessageListing, SendError};
use perennial_schema::content::text_content;
use perennial_schema::mail::MailState;

use super::fixture::{Desk, ids, key, letter, queue, session};
use crate::fixture::workspace;

super::on_every_post!(
    a_message_is_sent_once,
    a_full_mailbox_takes_no_more,
    other_workspaces_see_nothing,
    lists_go_on_where_they_stopped,
    what_ended_is_forgotten_after_its_time,
);

async fn a_message_is_sent_once(desk: Desk) {
    let written = Letter {
        in_reply_to: Some(letter(&key(), &session()).id),
        ..letter(&key(), &session())
    };
    let sends = (0..8).map(|_| desk.post.send(desk.workspace, written.clone(), 100));
    let sent = futures_util::future::join_all(sends).await;
    let first: Vec<bool> = sent.iter().map(|sent| sent.as_ref().unwrap().replayed).collect();
    assert_eq!(first.iter().filter(|replayed| !**replayed).count(), 1);
    let message = desk.message(written.id).await;
    assert_eq!(message.letter, written);
    assert_eq!(
        (message.state, message.round, message.deliveries),
        (MailState::Queued, 0, 0)
    );
    let other = Letter {
        content: text_content("something else"),
        ..written
    };
    let refused = desk.send(other).await;
    assert!(matches!(refused, Err(SendError::IdReused(_))), "{refused:?}");
}

async fn a_full_mailbox_takes_no_more(desk: Desk) {
    let to = queue("small");
    let first = letter(&key(), &to);
    for letter in [first.clone(), letter(&key(), &to)] {
        desk.post.send(desk.workspace, letter, 2).await.unwrap();
    }
    let refused = desk.post.send(desk.workspace, letter(&key(), &to), 2).await;
    assert!(matches!(refused, Err(SendError::Full(_, 2))), "{refused:?}");
    // A repetition is no more than was there.
    assert!(desk.post.send(desk.workspace, first.clone(), 2).await.unwrap().replayed);
    // Another mailbox has room of its own, and so has this one when something left.
    desk.post
        .send(desk.workspace, letter(&key(), &queue("other")), 2)
        .await
        .unwrap();
    assert!(desk.post.cancel(desk.workspace, first.id).await.unwrap());
    desk.post.send(desk.workspace, letter(&key(), &to), 2).await.unwrap();
}

async fn other_workspaces_see_nothing(desk: Desk) {
    let to = queue("box");
    let sent = desk.send(letter(&key(), &to)).await.unwrap();
    let (stranger, id) = (workspace(), sent.letter.id);
    assert_eq!(desk.post.message(stranger, id).await.unwrap(), None);
    assert!(!desk.post.cancel(stranger, id).await.unwrap());
    assert!(!desk.post.replay(stranger, id).await.unwrap());
    assert!(desk.post.receive(stranger, &to, 10, 1000).await.unwrap().is_empty());
    assert!(desk.post.mailboxes(stranger, None, 10).await.unwrap().is_empty());
    // The same id is another message there.
    assert!(
        !desk
            .post
            .send(stranger, sent.letter.clone(), 10)
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(desk.message(id).await.workspace, desk.workspace);
}

async fn lists_go_on_where_they_stopped(desk: Desk) {
    let (one, two) = (queue("one"), queue("two"));
    let mut sent = Vec::new();
    for to in [&one, &two, &one, &one] {
        sent.push(desk.send(letter(&key(), to)).await.unwrap());
    }
    assert!(desk.post.cancel(desk.workspace, sent[0].letter.id).await.unwrap());
    let listing = MessageListing {
        workspace: desk.workspace,
        to: Some(one.clone()),
        states: Vec::new(),
        thread: None,
        before: None,
        limit: 2,
    };
    let page = desk.post.messages(listing.clone()).await.unwrap();
    assert_eq!(ids(&page), [sent[3].letter.id, sent[2].letter.id]);
    let rest = MessageListing {
        before: Some(page[1].position),
        ..listing.clone()
    };
    assert_eq!(ids(&desk.post.messages(rest).await.unwrap()), [sent[0].letter.id]);
    let cancelled = MessageListing {
        states: vec![MailState::Cancelled, MailState::Dead],
        to: None,
        ..listing.clone()
    };
    assert_eq!(ids(&desk.post.messages(cancelled).await.unwrap()), [sent[0].letter.id]);
    let elsewhere = MessageListing {
        thread: Some("another".into()),
        ..listing
    };
    assert!(desk.post.messages(elsewhere).await.unwrap().is_empty());
    let boxes = desk.post.mailboxes(desk.workspace, None, 1).await.unwrap();
    assert_eq!(
        (boxes[0].address.clone(), boxes[0].open, boxes[0].dead),
        (one.clone(), 2, 0)
    );
    let boxes = desk.post.mailboxes(desk.workspace, Some(&one), 9).await.unwrap();
    assert_eq!(boxes.iter().map(|one| &one.address).collect::<Vec<_>>(), [&two]);
}

async fn what_ended_is_forgotten_after_its_time(desk: Desk) {
    let to = queue("box");
    let ended = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    let open = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    assert!(desk.post.cancel(desk.workspace, ended).await.unwrap());
    desk.clock.advance(999);
    desk.post.tend(1000).await.unwrap();
    assert!(desk.post.message(desk.workspace, ended).await.unwrap().is_some());
    desk.clock.advance(2);
    desk.post.tend(1000).await.unwrap();
    assert_eq!(desk.post.message(desk.workspace, ended).await.unwrap(), None);
    assert!(desk.post.message(desk.workspace, open).await.unwrap().is_some());
}
