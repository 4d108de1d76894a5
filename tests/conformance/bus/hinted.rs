//! The store that tells a bus: commit first, hint afterwards.

use std::sync::Arc;

use perennial_broker::Hinted;
use perennial_broker::bus::local::Local;
use perennial_broker::log::memory::Memory;
use perennial_engine::ports::{Bus as _, Leases as _, Log as _, Notice, Ready, Sessions as _};
use tokio::time::timeout;

use super::{QUIET, SOON, heard};
use crate::fixture::{Hand, Rig, client, new_session};

/// A store that tells a bus, and the ears of a worker and a feed.
struct Told {
    rig: Rig,
    store: Arc<Hinted<Memory>>,
    bus: Local,
}

fn told() -> Told {
    let (clock, bus) = (Hand::new(), Local::new());
    let memory = Memory::new(Arc::<Hand>::clone(&clock));
    let store = Arc::new(Hinted::new(memory, Arc::new(bus.clone())));
    let rig = Rig::over(Arc::<Hinted<Memory>>::clone(&store), clock);
    Told { rig, store, bus }
}

#[tokio::test]
async fn a_commit_is_hinted_and_wakes() {
    let Told { rig, store, bus } = told();
    let mut wake_ups = bus.wake_ups();
    let key = rig.key();
    let mut subscription = bus.subscribe(key);
    store.create(new_session(key), None).await.unwrap();
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 0 }));
    assert!(timeout(QUIET, wake_ups.next()).await.is_err(), "nothing to do yet");
    rig.say(key, "hi").await;
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 1 }));
    timeout(SOON, wake_ups.next()).await.unwrap();
    rig.append(client(key, vec![rig.message("quiet")], Ready::Keep))
        .await
        .unwrap();
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    assert!(timeout(QUIET, wake_ups.next()).await.is_err());
}

#[tokio::test]
async fn a_refused_append_is_not_hinted() {
    let Told { rig, bus, .. } = told();
    let key = rig.session().await;
    let mut subscription = bus.subscribe(key);
    let mut wake_ups = bus.wake_ups();
    let event = rig.message("x");
    rig.append(client(key, vec![event.clone(), event], Ready::Now))
        .await
        .unwrap_err();
    assert!(timeout(QUIET, subscription.next()).await.is_err());
    assert!(timeout(QUIET, wake_ups.next()).await.is_err());
}

#[tokio::test]
async fn a_release_wakes_the_next() {
    let Told { rig, store, bus } = told();
    let (key, owner, epoch) = rig.held().await;
    let mut wake_ups = bus.wake_ups();
    store.release(key, epoch, Ready::Keep, 1).await.unwrap();
    timeout(SOON, wake_ups.next()).await.unwrap();
    let epoch = rig.claim(owner, 1).await[0].row.epoch;
    assert!(timeout(QUIET, wake_ups.next()).await.is_err());
    rig.append(rig.rest(key, epoch, 1)).await.unwrap();
    assert!(
        timeout(QUIET, wake_ups.next()).await.is_err(),
        "resting leaves nothing to do"
    );
    assert_eq!(
        store
            .read(key, perennial_engine::ports::ReadFrom { after: 0, limit: 9 })
            .await
            .unwrap()
            .len(),
        2
    );
}
