//! Mail that programs receive: hidden while somebody has it, back when that one is silent, dead when nobody can do it.

use perennial_engine::ports::{Letter, MAIL_DELIVERIES, Receipt, Return};
use perennial_schema::mail::{MailState, Sender};

use super::fixture::{Desk, ids, key, letter, queue, session};

super::on_every_post!(
    a_received_message_is_hidden,
    many_receivers_share_a_queue,
    a_stale_receipt_says_nothing,
    who_needs_longer_says_so,
    what_nobody_can_do_dies,
    a_queue_has_no_use_for_what_expired,
);

const HIDDEN: u64 = 1000;

fn receipt(message: &perennial_engine::ports::Message) -> Receipt {
    Receipt {
        message: message.letter.id,
        round: message.round,
    }
}

async fn a_received_message_is_hidden(desk: Desk) {
    let to = queue("work");
    let first = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    let second = desk.send(letter(&key(), &to)).await.unwrap().letter.id;
    let received = desk.post.receive(desk.workspace, &to, 1, HIDDEN).await.unwrap();
    assert_eq!(ids(&received), [first]);
    assert_eq!((received[0].state, received[0].deliveries), (MailState::Leased, 1));
    let rest = desk.elsewhere.receive(desk.workspace, &to, 9, HIDDEN).await.unwrap();
    assert_eq!(ids(&rest), [second]);
    assert!(desk.taken().await.is_empty());
    let done = desk
        .post
        .give_back(desk.workspace, receipt(&received[0]), Return::Acknowledge)
        .await;
    assert_eq!(done.unwrap().unwrap().state, MailState::Acknowledged);
    // The other one's holder is silent.
    desk.clock.advance(1000);
    let again = desk.post.receive(desk.workspace, &to, 9, HIDDEN).await.unwrap();
    assert_eq!(ids(&again), [second]);
    assert_eq!((again[0].deliveries, again[0].round), (2, 2));
}

async fn many_receivers_share_a_queue(desk: Desk) {
    let to = queue("work");
    let mut sent = Vec::new();
    for _ in 0..40 {
        sent.push(desk.send(letter(&key(), &to)).await.unwrap().letter.id);
    }
    let receives = (0..16).map(|at| {
        let post = if at % 2 == 0 { &desk.post } else { &desk.elsewhere };
        post.receive(desk.workspace, &to, 5, HIDDEN)
    });
    let received = futures_util::future::join_all(receives).await;
    let mut received: Vec<_> = received.into_iter().flat_map(|each| ids(&each.unwrap())).collect();
    // Who met another one's lock got less: the rest is still there.
    received.extend(ids(&desk.post.receive(desk.workspace, &to, 40, HIDDEN).await.unwrap()));
    received.sort_unstable();
    assert_eq!(received, sent);
}

async fn a_stale_receipt_says_nothing(desk: Desk) {
    let to = queue("work");
    desk.send(letter(&key(), &to)).await.unwrap();
    let early = desk
        .post
        .receive(desk.workspace, &to, 1, HIDDEN)
        .await
        .unwrap()
        .remove(0);
    desk.clock.advance(1000);
    let late = desk
        .post
        .receive(desk.workspace, &to, 1, HIDDEN)
        .await
        .unwrap()
        .remove(0);
    for what in [Return::Acknowledge, Return::Reject(0), Return::Extend(9)] {
        let said = desk
            .post
            .give_back(desk.workspace, receipt(&early), what)
            .await
            .unwrap();
        assert_eq!(said, None, "{what:?}");
    }
    // A lease that ran out is as good as ever while nobody else has the message.
    desk.clock.advance(5000);
    let done = desk
        .post
        .give_back(desk.workspace, receipt(&late), Return::Acknowledge)
        .await
        .unwrap();
    assert_eq!(done.map(|message| message.state), Some(MailState::Acknowledged));
    let twice = desk
        .post
        .give_back(desk.workspace, receipt(&late), Return::Acknowledge)
        .await
        .unwrap();
    assert_eq!(twice, None);
}

async fn who_needs_longer_says_so(desk: Desk) {
    let to = queue("work");
    desk.send(letter(&key(), &to)).await.unwrap();
    let held = desk
        .post
        .receive(desk.workspace, &to, 1, HIDDEN)
        .await
        .unwrap()
        .remove(0);
    desk.clock.advance(900);
    assert!(
        desk.post
            .give_back(desk.workspace, receipt(&held), Return::Extend(1000))
            .await
            .unwrap()
            .is_some()
    );
    desk.clock.advance(900);
    assert!(
        desk.post
            .receive(desk.workspace, &to, 1, HIDDEN)
            .await
            .unwrap()
            .is_empty()
    );
    let back = desk
        .post
        .give_back(desk.workspace, receipt(&held), Return::Reject(500))
        .await
        .unwrap();
    assert_eq!(back.map(|message| message.state), Some(MailState::Queued));
    assert!(
        desk.post
            .receive(desk.workspace, &to, 1, HIDDEN)
            .await
            .unwrap()
            .is_empty()
    );
    desk.clock.advance(500);
    assert_eq!(
        desk.post.receive(desk.workspace, &to, 1, HIDDEN).await.unwrap().len(),
        1
    );
}

async fn what_nobody_can_do_dies(desk: Desk) {
    let (to, from) = (queue("work"), Sender::At(session()));
    let rejected = desk.send(letter(&from, &to)).await.unwrap().letter.id;
    for _ in 0..MAIL_DELIVERIES {
        let held = desk
            .post
            .receive(desk.workspace, &to, 1, HIDDEN)
            .await
            .unwrap()
            .remove(0);
        desk.post
            .give_back(desk.workspace, receipt(&held), Return::Reject(0))
            .await
            .unwrap();
    }
    assert_eq!(desk.message(rejected).await.state, MailState::Dead);
    let dropped = desk.send(letter(&from, &to)).await.unwrap().letter.id;
    for _ in 0..MAIL_DELIVERIES {
        assert_eq!(
            desk.post.receive(desk.workspace, &to, 1, HIDDEN).await.unwrap().len(),
            1
        );
        desk.clock.advance(1000);
    }
    assert!(
        desk.post
            .receive(desk.workspace, &to, 1, HIDDEN)
            .await
            .unwrap()
            .is_empty()
    );
    desk.post.tend(1_000_000).await.unwrap();
    let dead = desk.message(dropped).await;
    assert_eq!(dead.state, MailState::Dead);
    assert!(dead.reason.unwrap().contains("too often"));
    assert_eq!(ids(&desk.post.untold(9).await.unwrap()), [rejected, dropped]);
    // Replayed it has as many chances as before.
    assert!(desk.post.replay(desk.workspace, dropped).await.unwrap());
    assert_eq!(
        desk.post.receive(desk.workspace, &to, 1, HIDDEN).await.unwrap()[0].deliveries,
        1
    );
}

async fn a_queue_has_no_use_for_what_expired(desk: Desk) {
    let to = queue("work");
    let now = perennial_engine::ports::Clock::now(desk.clock.as_ref());
    let short = Letter {
        expires_at: Some(now.plus_millis(1000)),
        ..letter(&key(), &to)
    };
    let id = desk.send(short).await.unwrap().letter.id;
    desk.clock.advance(1000);
    assert!(
        desk.post
            .receive(desk.workspace, &to, 1, HIDDEN)
            .await
            .unwrap()
            .is_empty()
    );
    desk.post.tend(1_000_000).await.unwrap();
    let dead = desk.message(id).await;
    assert_eq!(
        (dead.state, dead.reason.as_deref()),
        (MailState::Dead, Some("it has expired"))
    );
}
