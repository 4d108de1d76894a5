//! A foreign workspace sees nothing and changes nothing (S1).

use perennial_engine::ports::{AppendError, EventFilter, ReadFrom, Ready, SessionKey};

use crate::fixture::{Rig, client, holder, new_session};
use crate::on_every_store;

on_every_store![
    a_stranger_sees_nothing,
    a_stranger_changes_nothing,
    the_same_id_is_two_sessions,
];

/// The key a stranger would use.
fn foreign(stranger: &Rig, key: SessionKey) -> SessionKey {
    SessionKey {
        workspace: stranger.workspace,
        ..key
    }
}

async fn a_stranger_sees_nothing(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "secret").await;
    let id = rig.log(key).await[0].id;
    let stranger = rig.tenant();
    let theirs = foreign(&stranger, key);
    let store = &stranger.store;
    assert_eq!(store.get(theirs).await.unwrap(), None);
    assert!(
        store
            .read(theirs, ReadFrom { after: 0, limit: 9 })
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.event(theirs, id).await.unwrap(), None);
    let filter = EventFilter {
        limit: 9,
        include_extensions: true,
        ..EventFilter::default()
    };
    assert!(store.list(theirs, filter).await.unwrap().is_empty());
    assert!(stranger.find(super::sessions::all()).await.is_empty());
}

async fn a_stranger_changes_nothing(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let before = rig.row(key).await;
    let stranger = rig.tenant();
    let theirs = foreign(&stranger, key);
    let says = stranger
        .append(client(theirs, vec![rig.message("x")], Ready::Now))
        .await;
    assert!(matches!(says, Err(AppendError::NotFound)), "{says:?}");
    let holds = stranger.append(holder(theirs, epoch, vec![rig.running()])).await;
    assert!(matches!(holds, Err(AppendError::NotFound)), "{holds:?}");
    stranger.store.release(theirs, epoch, Ready::Never, 1).await.unwrap();
    assert_eq!(rig.row(key).await, before);
}

async fn the_same_id_is_two_sessions(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "mine").await;
    let stranger = rig.tenant();
    let theirs = foreign(&stranger, key);
    let made = stranger.store.create(new_session(theirs), None).await.unwrap();
    assert!(!made.replayed);
    assert_eq!((rig.row(key).await.head, stranger.row(theirs).await.head), (1, 0));
}
