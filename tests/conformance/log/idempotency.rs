//! Repeated requests (I19): same key and body, same outcome.

use perennial_engine::ports::{Append, AppendError, Idempotency, IdempotencyMode, Ready, SessionKey};

use crate::fixture::{Rig, client, keyed, new_session};
use crate::on_every_store;

on_every_store![
    a_key_replays_its_append,
    a_key_with_another_body_is_refused,
    a_key_for_another_session_is_refused,
    keys_are_scoped,
    keys_last_a_day,
    a_first_try_is_only_remembered,
    a_declared_retry_replays_for_a_minute,
    a_retry_without_memory_is_a_first_try,
    a_key_replays_its_creation,
    creating_the_same_id_replays,
    concurrent_repeats_have_one_effect,
    a_refused_request_is_not_remembered,
    a_replay_survives_the_archive,
];

fn asked(key: &str, body: &str, mode: IdempotencyMode) -> Idempotency {
    Idempotency {
        scope: "POST /v1/sessions/x/events key_1".into(),
        key: key.into(),
        body_hash: body.into(),
        mode,
    }
}

fn send(rig: &Rig, key: SessionKey, asked: Idempotency) -> Append {
    keyed(client(key, vec![rig.message("once")], Ready::Now), asked)
}

async fn a_key_replays_its_append(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "before").await;
    let first = rig
        .append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    rig.say(key, "between").await;
    rig.clock.advance(90_000);
    let again = rig
        .append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    assert!(again.replayed);
    assert_eq!((again.first_seq, again.last_seq, again.at), (2, 2, first.at));
    assert_eq!(rig.row(key).await.head, 3);
}

async fn a_key_with_another_body_is_refused(rig: Rig) {
    let key = rig.session().await;
    rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    let reused = rig
        .append(send(&rig, key, asked("k", "other", IdempotencyMode::Key)))
        .await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
    assert_eq!(rig.row(key).await.head, 1);
}

async fn a_key_for_another_session_is_refused(rig: Rig) {
    let (one, two) = (rig.session().await, rig.session().await);
    rig.append(send(&rig, one, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    let reused = rig.append(send(&rig, two, asked("k", "b", IdempotencyMode::Key))).await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
}

async fn keys_are_scoped(rig: Rig) {
    let key = rig.session().await;
    rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    let elsewhere = Idempotency {
        scope: "another route".into(),
        ..asked("k", "other", IdempotencyMode::Key)
    };
    assert!(!rig.append(send(&rig, key, elsewhere)).await.unwrap().replayed);
    let stranger = rig.tenant();
    let theirs = stranger.session().await;
    assert!(
        !stranger
            .append(send(&stranger, theirs, asked("k", "x", IdempotencyMode::Key)))
            .await
            .unwrap()
            .replayed
    );
}

async fn keys_last_a_day(rig: Rig) {
    let key = rig.session().await;
    rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    for hours in 1..25 {
        rig.clock.advance(3_600_000);
        rig.append(send(&rig, key, asked(&format!("k{hours}"), "b", IdempotencyMode::Key)))
            .await
            .unwrap();
    }
    assert!(
        rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
            .await
            .unwrap()
            .replayed
    );
}

async fn a_first_try_is_only_remembered(rig: Rig) {
    let key = rig.session().await;
    for n in 1..=3 {
        let sent = rig
            .append(send(&rig, key, asked("k", "b", IdempotencyMode::Remember)))
            .await
            .unwrap();
        assert_eq!(
            (sent.replayed, sent.last_seq),
            (false, n),
            "an SDK may mean to say it twice"
        );
    }
    let retry = rig
        .append(send(&rig, key, asked("k", "b", IdempotencyMode::Retry)))
        .await
        .unwrap();
    assert_eq!(
        (retry.replayed, retry.last_seq),
        (true, 3),
        "the newest is what is retried"
    );
}

async fn a_declared_retry_replays_for_a_minute(rig: Rig) {
    let key = rig.session().await;
    rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Remember)))
        .await
        .unwrap();
    rig.clock.advance(59_000);
    assert!(
        rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Retry)))
            .await
            .unwrap()
            .replayed
    );
    rig.clock.advance(2_000);
    assert!(
        !rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Retry)))
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(rig.row(key).await.head, 2);
}

async fn a_retry_without_memory_is_a_first_try(rig: Rig) {
    let key = rig.session().await;
    assert!(
        !rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Retry)))
            .await
            .unwrap()
            .replayed
    );
    assert!(
        rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Retry)))
            .await
            .unwrap()
            .replayed
    );
}

async fn a_key_replays_its_creation(rig: Rig) {
    let create = |body: &str| {
        let mut new = new_session(rig.key());
        new.events = vec![rig.message("hi")];
        new.idempotency = Some(asked("create", body, IdempotencyMode::Key));
        new
    };
    let first = rig.store.create(create("b"), None).await.unwrap();
    let again = rig.store.create(create("b"), None).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!((again.session, again.last_seq), (first.session, 1));
    let reused = rig.store.create(create("other"), None).await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
    assert_eq!(rig.find(crate::log::sessions::all()).await, [first.session]);
}

async fn creating_the_same_id_replays(rig: Rig) {
    let key = rig.key();
    let mut new = new_session(key);
    new.events = vec![rig.message("hi")];
    rig.store.create(new, None).await.unwrap();
    rig.say(key, "more").await;
    let again = rig.store.create(new_session(key), None).await.unwrap();
    assert_eq!((again.replayed, again.first_seq, again.last_seq), (true, 1, 1));
    assert_eq!(rig.row(key).await.head, 2);
}

async fn concurrent_repeats_have_one_effect(rig: Rig) {
    let key = rig.session().await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        let sent = task.await.unwrap();
        assert_eq!(sent.last_seq, 1);
        fresh += u32::from(!sent.replayed);
    }
    assert_eq!((fresh, rig.row(key).await.head), (1, 1));
}

async fn a_refused_request_is_not_remembered(rig: Rig) {
    let key = rig.session().await;
    let event = rig.message("x");
    let refused = keyed(
        client(key, vec![event.clone(), event], Ready::Keep),
        asked("k", "b", IdempotencyMode::Key),
    );
    rig.append(refused).await.unwrap_err();
    assert!(
        !rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
            .await
            .unwrap()
            .replayed
    );
}

async fn a_replay_survives_the_archive(rig: Rig) {
    let key = rig.session().await;
    rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
        .await
        .unwrap();
    let mut archive = client(key, vec![], Ready::Never);
    archive.projection.patch.archive = true;
    rig.append(archive).await.unwrap();
    assert!(
        rig.append(send(&rig, key, asked("k", "b", IdempotencyMode::Key)))
            .await
            .unwrap()
            .replayed
    );
}
