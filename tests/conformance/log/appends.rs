//! Numbers, fences and repeats of an append (I1, I2, I3).

use perennial_engine::ports::{Append, AppendError, Authority, Projection, Ready};
use perennial_schema::EventId;

use crate::fixture::{Rig, client, event_id, holder};
use crate::on_every_store;

on_every_store![
    numbers_start_at_one_and_have_no_gap,
    an_append_without_events_keeps_the_head,
    an_unknown_session_is_not_found,
    only_the_current_epoch_writes,
    a_released_epoch_is_fenced,
    a_conditional_append_needs_the_head,
    a_fenced_append_writes_nothing,
    the_same_append_id_replays,
    a_replay_outlives_the_lease,
    append_ids_are_per_session,
    an_append_names_an_event_id_once,
    a_refused_append_leaves_no_gap,
    bytes_come_back_as_they_went,
    large_batches_keep_their_order,
];

async fn numbers_start_at_one_and_have_no_gap(rig: Rig) {
    let key = rig.session().await;
    let first = rig.say(key, "one").await;
    assert_eq!((first.first_seq, first.last_seq, first.replayed), (1, 1, false));
    let events = vec![rig.message("two"), rig.message("three")];
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let second = rig.append(client(key, events, Ready::Keep)).await.unwrap();
    assert_eq!((second.first_seq, second.last_seq), (2, 3));
    assert_eq!(second.session, key.session);
    let log = rig.log(key).await;
    assert_eq!(log.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(log[1..].iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    assert_eq!(log[0].created_at, first.at);
    assert_eq!(rig.row(key).await.head, 3);
}

async fn an_append_without_events_keeps_the_head(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let before = rig.row(key).await;
    rig.clock.advance(5);
    let done = rig.append(holder(key, epoch, Vec::new())).await.unwrap();
    assert_eq!((done.first_seq, done.last_seq), (2, 1));
    let after = rig.row(key).await;
    assert_eq!((after.head, after.updated_at), (1, before.updated_at));
}

async fn an_unknown_session_is_not_found(rig: Rig) {
    let refused = rig.append(client(rig.key(), vec![rig.message("x")], Ready::Now)).await;
    assert!(matches!(refused, Err(AppendError::NotFound)), "{refused:?}");
    assert!(rig.log(rig.key()).await.is_empty());
    assert_eq!(rig.store.get(rig.key()).await.unwrap(), None);
}

async fn only_the_current_epoch_writes(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    for wrong in [epoch - 1, epoch + 1] {
        let refused = rig.append(holder(key, wrong, vec![rig.running()])).await;
        assert!(
            matches!(refused, Err(AppendError::Fenced { current }) if current == epoch),
            "{refused:?}"
        );
    }
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
}

async fn a_released_epoch_is_fenced(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.append(rig.rest(key, epoch, 1)).await.unwrap();
    let refused = rig.append(holder(key, epoch, vec![rig.running()])).await;
    assert!(matches!(refused, Err(AppendError::Fenced { .. })), "{refused:?}");
}

async fn a_conditional_append_needs_the_head(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.say(key, "wait, one more thing").await;
    let refused = rig.append(rig.rest(key, epoch, 1)).await;
    assert!(matches!(refused, Err(AppendError::Moved { head: 2 })), "{refused:?}");
    let row = rig.row(key).await;
    assert!(row.held && row.ready_at.is_some() && row.head == 2);
    rig.append(rig.rest(key, epoch, 2)).await.unwrap();
    let row = rig.row(key).await;
    assert!(!row.held && row.ready_at.is_none() && row.head == 3);
}

async fn a_fenced_append_writes_nothing(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let before = rig.row(key).await;
    let mut append = holder(key, epoch + 1, vec![rig.answer_text("zombie")]);
    append.projection.turn = Some(9);
    rig.append(append).await.unwrap_err();
    assert_eq!(rig.row(key).await, before);
    assert_eq!(rig.log(key).await.len(), 1);
}

async fn the_same_append_id_replays(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let mut append = holder(key, epoch, vec![rig.running(), rig.answer_text("hi")]);
    append.projection.turn = Some(1);
    let first = rig.append(append.clone()).await.unwrap();
    rig.say(key, "in between").await;
    rig.clock.advance(1000);
    let again = rig.append(append).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(
        (again.first_seq, again.last_seq, again.at, again.turn),
        (first.first_seq, first.last_seq, first.at, 1)
    );
    assert_eq!(rig.log(key).await.len(), 4);
}

async fn a_replay_outlives_the_lease(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let rest = rig.rest(key, epoch, 1);
    rig.append(rest.clone()).await.unwrap();
    rig.say(key, "again").await;
    let owner = rig.owner().await;
    rig.claim(owner, 1).await;
    assert!(
        rig.append(rest).await.unwrap().replayed,
        "an ambiguous commit is resolved, not fenced"
    );
}

async fn append_ids_are_per_session(rig: Rig) {
    let (one, two) = (rig.session().await, rig.session().await);
    let append = client(one, vec![rig.message("x")], Ready::Keep);
    rig.append(append.clone()).await.unwrap();
    let other = Append { key: two, ..append };
    assert!(!rig.append(other).await.unwrap().replayed);
}

async fn an_append_names_an_event_id_once(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "x").await;
    let before = rig.row(key).await;
    let event = rig.message("y");
    let twice = rig
        .append(client(key, vec![event.clone(), rig.message("z"), event], Ready::Now))
        .await;
    assert!(matches!(twice, Err(AppendError::Store(_))), "{twice:?}");
    assert_eq!(rig.row(key).await, before);
    assert_eq!(rig.say(key, "z").await.first_seq, 2, "no gap");
}

async fn a_refused_append_leaves_no_gap(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    for _ in 0..5 {
        rig.append(holder(key, epoch + 7, vec![rig.running()]))
            .await
            .unwrap_err();
    }
    assert_eq!(
        rig.append(holder(key, epoch, vec![rig.running()]))
            .await
            .unwrap()
            .first_seq,
        2
    );
}

async fn bytes_come_back_as_they_went(rig: Rig) {
    let key = rig.session().await;
    let mut event = rig.message("x");
    event.payload = "{\"a\":\"\\u0000 raw:\0 é 🌱 \u{202e} \\ud800\"}".into();
    event.private = Some("{\"native\":\"\0\"}".into());
    event.actor = Some("who\0 'drop table' \"".into());
    let id = event.id;
    let mut append = client(key, vec![event.clone()], Ready::Keep);
    append.projection.patch.title = Some(Some("ti\0tle 🌱".into()));
    rig.append(append).await.unwrap();
    for record in [
        rig.log(key).await.remove(0),
        rig.store.event(key, id).await.unwrap().unwrap(),
    ] {
        assert_eq!(record.payload, event.payload);
        assert_eq!(record.private, event.private);
        assert_eq!(record.actor, event.actor);
        assert_eq!(record.kind, "user.message");
    }
    assert_eq!(rig.row(key).await.title.as_deref(), Some("ti\0tle 🌱"));
    assert_eq!(rig.store.event(key, event_id()).await.unwrap(), None);
}

async fn large_batches_keep_their_order(rig: Rig) {
    let key = rig.session().await;
    let events: Vec<_> = (0..1001).map(|n| rig.message(&format!("{n}"))).collect();
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let append = Append {
        projection: Projection::default(),
        authority: Authority::Client {
            guards: Vec::new(),
            idempotency: None,
        },
        ..client(key, events, Ready::Keep)
    };
    assert_eq!(rig.append(append).await.unwrap().last_seq, 1001);
    let log = rig.log(key).await;
    assert_eq!(log.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    assert_eq!(log.last().unwrap().seq, 1001);
}
