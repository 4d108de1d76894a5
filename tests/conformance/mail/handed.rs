//! Mail that is handed over: one taker at a time, in the order of its pair.

use perennial_engine::ports::{HandOver, Letter, SessionKey, ThreadSession};
use perennial_schema::mail::{MailState, Sender};
use perennial_schema::{AgentId, SessionId};
use uuid::Uuid;

use super::fixture::{Desk, LEASE, ids, key, letter, queue, session};

super::on_every_post!(
    a_pair_keeps_its_order,
    a_message_is_one_takers,
    what_comes_later_waits,
    mail_with_a_time_is_outside_the_order,
    what_was_on_its_way_is_not_taken_back,
    senders_of_dead_letters_are_to_be_told,
    a_dead_letter_can_be_queued_again,
    a_thread_has_one_session,
);

fn fresh() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

async fn a_pair_keeps_its_order(desk: Desk) {
    let (to, other) = (session(), session());
    let from = Sender::At(session());
    let mut sent = Vec::new();
    for (from, to) in [(&from, &to), (&from, &to), (&key(), &to), (&from, &other)] {
        sent.push(desk.send(letter(from, to)).await.unwrap().letter.id);
    }
    // A queue's mail is nobody's to hand over.
    desk.send(letter(&from, &queue("box"))).await.unwrap();
    assert_eq!(desk.taken().await, [sent[0], sent[2], sent[3]]);
    assert!(desk.taken().await.is_empty());
    let first = desk.message(sent[0]).await;
    let session = fresh();
    assert!(desk.post.settle(&first, &HandOver::Delivered(session)).await.unwrap());
    assert_eq!(desk.taken().await, [sent[1]]);
    let first = desk.message(sent[0]).await;
    assert_eq!((first.state, first.session), (MailState::Delivered, Some(session)));
    let key = SessionKey {
        workspace: desk.workspace,
        session,
    };
    assert_eq!(ids(&desk.post.delivered_to(key, 5).await.unwrap()), [sent[0]]);
}

async fn a_message_is_one_takers(desk: Desk) {
    let id = desk.send(letter(&key(), &session())).await.unwrap().letter.id;
    let takes = (0..8).map(|at| {
        let post = if at % 2 == 0 { &desk.post } else { &desk.elsewhere };
        post.take(10, LEASE)
    });
    let taken = futures_util::future::join_all(takes).await;
    let mut taken: Vec<_> = taken.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(ids(&taken), [id]);
    let early = taken.remove(0);
    // Its time runs out: the next taker has it, and what the first one says is void.
    desk.clock.advance(30_001);
    let late = desk.elsewhere.take(10, LEASE).await.unwrap().remove(0);
    assert!(late.round > early.round);
    assert!(!desk.post.settle(&early, &HandOver::Dead("no".into())).await.unwrap());
    let session = fresh();
    assert!(
        desk.elsewhere
            .settle(&late, &HandOver::Delivered(session))
            .await
            .unwrap()
    );
    assert!(
        !desk
            .elsewhere
            .settle(&late, &HandOver::Delivered(fresh()))
            .await
            .unwrap()
    );
    assert_eq!(desk.message(id).await.session, Some(session));
}

async fn what_comes_later_waits(desk: Desk) {
    assert_eq!(desk.post.next_due().await.unwrap(), None);
    let (to, from) = (session(), key());
    let first = desk.send(letter(&from, &to)).await.unwrap().letter.id;
    let second = desk.send(letter(&from, &to)).await.unwrap().letter.id;
    assert_eq!(desk.post.next_due().await.unwrap(), Some(0));
    let taken = desk.post.take(10, LEASE).await.unwrap();
    assert!(desk.post.settle(&taken[0], &HandOver::Later(500)).await.unwrap());
    // It stays the first of its pair.
    assert!(desk.taken().await.is_empty());
    desk.clock.advance(500);
    assert_eq!(desk.taken().await, [first]);
    assert_eq!(desk.message(first).await.deliveries, 1);
    assert_eq!(desk.message(second).await.round, 0);
}

async fn mail_with_a_time_is_outside_the_order(desk: Desk) {
    let (to, from) = (session(), key());
    let at = perennial_engine::ports::Clock::now(desk.clock.as_ref()).plus_millis(1000);
    let timed = Letter {
        deliver_at: Some(at),
        ..letter(&from, &to)
    };
    let timed = desk.send(timed).await.unwrap().letter.id;
    assert_eq!(desk.post.next_due().await.unwrap(), Some(1000));
    let plain = desk.send(letter(&from, &to)).await.unwrap().letter.id;
    assert_eq!(desk.taken().await, [plain]);
    desk.clock.advance(1000);
    assert_eq!(desk.taken().await, [timed]);
}

async fn what_was_on_its_way_is_not_taken_back(desk: Desk) {
    let waiting = desk.send(letter(&key(), &session())).await.unwrap().letter.id;
    let taken = desk.send(letter(&key(), &session())).await.unwrap().letter.id;
    assert!(desk.post.cancel(desk.workspace, waiting).await.unwrap());
    assert!(!desk.post.cancel(desk.workspace, waiting).await.unwrap());
    assert_eq!(desk.message(waiting).await.state, MailState::Cancelled);
    assert_eq!(desk.taken().await, [taken]);
    assert!(!desk.post.cancel(desk.workspace, taken).await.unwrap());
    // Nor when it waits again: it may be in the log already.
    desk.clock.advance(30_001);
    assert!(!desk.post.cancel(desk.workspace, taken).await.unwrap());
}

async fn senders_of_dead_letters_are_to_be_told(desk: Desk) {
    let senders = [
        Sender::At(session()),
        Sender::At(queue("answers")),
        key(),
        Sender::Postmaster,
    ];
    let mut dead = Vec::new();
    for from in &senders {
        dead.push(desk.send(letter(from, &session())).await.unwrap().letter.id);
    }
    for message in desk.post.take(10, LEASE).await.unwrap() {
        let died = HandOver::Dead("nobody lives there".into());
        assert!(desk.post.settle(&message, &died).await.unwrap());
    }
    let untold = desk.elsewhere.untold(10).await.unwrap();
    assert_eq!(ids(&untold), [dead[0], dead[1]]);
    assert_eq!(untold[0].reason.as_deref(), Some("nobody lives there"));
    desk.clock.advance(10_000);
    desk.post.tend(1).await.unwrap();
    assert_eq!(
        ids(&desk.post.untold(1).await.unwrap()),
        [dead[0]],
        "told before it is forgotten"
    );
    desk.post.told(desk.workspace, dead[0]).await.unwrap();
    assert_eq!(ids(&desk.post.untold(10).await.unwrap()), [dead[1]]);
}

async fn a_dead_letter_can_be_queued_again(desk: Desk) {
    let id = desk
        .send(letter(&Sender::At(session()), &session()))
        .await
        .unwrap()
        .letter
        .id;
    assert!(!desk.post.replay(desk.workspace, id).await.unwrap());
    let taken = desk.post.take(10, LEASE).await.unwrap();
    assert!(
        desk.post
            .settle(&taken[0], &HandOver::Dead("gone".into()))
            .await
            .unwrap()
    );
    assert!(desk.post.replay(desk.workspace, id).await.unwrap());
    let again = desk.message(id).await;
    assert_eq!(
        (again.state, again.reason, again.deliveries),
        (MailState::Queued, None, 0)
    );
    assert!(desk.post.untold(10).await.unwrap().is_empty());
    assert_eq!(desk.taken().await, [id]);
    assert!(
        !desk
            .post
            .settle(&taken[0], &HandOver::Delivered(fresh()))
            .await
            .unwrap()
    );
}

async fn a_thread_has_one_session(desk: Desk) {
    let agent = AgentId::from_uuid(Uuid::now_v7());
    let ask = |thread: &'static str, fresh, instead_of| ThreadSession {
        workspace: desk.workspace,
        agent,
        thread,
        fresh,
        instead_of,
    };
    let offers: Vec<SessionId> = (0..8).map(|_| fresh()).collect();
    let asked = offers
        .iter()
        .map(|fresh| desk.post.thread_session(ask("a", *fresh, None)));
    let got: Vec<SessionId> = futures_util::future::join_all(asked)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let first = got[0];
    assert!(
        offers.contains(&first) && got.iter().all(|session| *session == first),
        "{got:?}"
    );
    let other = fresh();
    assert_eq!(desk.post.thread_session(ask("b", other, None)).await.unwrap(), other);
    // A successor, decided by the first to ask for one.
    let (next, late) = (fresh(), fresh());
    let elsewhere = &desk.elsewhere;
    assert_eq!(
        elsewhere.thread_session(ask("a", next, Some(first))).await.unwrap(),
        next
    );
    assert_eq!(
        elsewhere.thread_session(ask("a", late, Some(first))).await.unwrap(),
        next
    );
    assert_eq!(desk.post.thread_session(ask("a", late, None)).await.unwrap(), next);
}
