//! What every bus must do, and what the silent one must not; and the store that tells it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use perennial_broker::Hinted;
use perennial_broker::bus::local::Local;
use perennial_broker::bus::silent::Silent;
use perennial_broker::log::memory::Memory;
use perennial_engine::ports::{
    Bus, Delta, Leases as _, Log as _, Notice, Ready, SessionKey, Sessions as _, Subscription,
};
use tokio::time::timeout;

use crate::fixture::{Hand, Rig, client, event_id, new_session};

/// Long enough for anything that comes at all.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to believe that nothing comes.
const QUIET: Duration = Duration::from_millis(50);

fn key() -> SessionKey {
    Rig::memory().key()
}

fn delta(n: u64, payload: &str) -> Delta {
    Delta {
        event_id: event_id(),
        kind: "agent.message",
        n,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

async fn heard(subscription: &mut Box<dyn Subscription>) -> Option<Notice> {
    timeout(SOON, subscription.next()).await.unwrap()
}

#[tokio::test]
async fn a_subscriber_hears_what_comes_after() {
    let (bus, key) = (Local::new(), key());
    bus.hint(key, 1);
    let mut subscription = bus.subscribe(key);
    let first = delta(0, "a");
    bus.delta(key, first.clone());
    bus.hint(key, 2);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Delta(first)));
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

#[tokio::test]
async fn every_subscriber_of_the_session_hears_and_no_other() {
    let (bus, key, other) = (Local::new(), key(), key());
    let (mut one, mut two, mut deaf) = (bus.subscribe(key), bus.subscribe(key), bus.subscribe(other));
    bus.hint(key, 7);
    assert_eq!(heard(&mut one).await, Some(Notice::Hint { seq: 7 }));
    assert_eq!(heard(&mut two).await, Some(Notice::Hint { seq: 7 }));
    assert!(timeout(QUIET, deaf.next()).await.is_err());
}

#[tokio::test]
async fn a_waiting_subscriber_is_woken() {
    let (bus, key) = (Local::new(), key());
    let mut subscription = bus.subscribe(key);
    let waits = tokio::spawn(async move { subscription.next().await });
    tokio::task::yield_now().await;
    bus.hint(key, 3);
    assert_eq!(
        timeout(SOON, waits).await.unwrap().unwrap(),
        Some(Notice::Hint { seq: 3 })
    );
}

#[tokio::test]
async fn waiting_hints_collapse_into_the_newest() {
    let (bus, key) = (Local::new(), key());
    let mut subscription = bus.subscribe(key);
    for seq in [1, 2, 5, 4] {
        bus.hint(key, seq);
    }
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 5 }));
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

#[tokio::test]
async fn a_slow_subscriber_lags_and_goes_on() {
    let (bus, key) = (Local::new(), key());
    let mut slow = bus.subscribe(key);
    for n in 0..10_000 {
        bus.delta(key, delta(n, "x"));
    }
    let mut got = Vec::new();
    bus.hint(key, 9);
    loop {
        let notice = heard(&mut slow).await.unwrap();
        let last = notice == Notice::Hint { seq: 9 };
        got.push(notice);
        if last {
            break;
        }
    }
    assert_eq!(got[0], Notice::Lagged);
    assert!(got.len() < 300, "bounded: {}", got.len());
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let (bus, key) = (Local::new(), key());
    let mut slow = bus.subscribe(key);
    for n in 0..20 {
        bus.delta(key, delta(n, &"x".repeat(100_000)));
    }
    let mut bytes = 0;
    assert_eq!(heard(&mut slow).await, Some(Notice::Lagged));
    while let Ok(Some(Notice::Delta(delta))) = timeout(QUIET, slow.next()).await {
        bytes += delta.payload.len();
    }
    assert!(bytes <= 1024 * 1024, "{bytes}");
}

#[tokio::test]
async fn a_slow_subscriber_does_not_hold_up_others() {
    let (bus, key) = (Local::new(), key());
    let _never_reads = bus.subscribe(key);
    let mut reads = bus.subscribe(key);
    for n in 0..5_000 {
        bus.delta(key, delta(n, "x"));
        let notice = heard(&mut reads).await;
        assert!(matches!(notice, Some(Notice::Delta(delta)) if delta.n == n));
    }
}

#[tokio::test]
async fn dropping_the_bus_ends_subscriptions() {
    let (bus, key) = (Local::new(), key());
    let clone = bus.clone();
    let mut subscription = bus.subscribe(key);
    bus.hint(key, 1);
    drop(bus);
    clone.hint(key, 2);
    drop(clone);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    assert_eq!(heard(&mut subscription).await, None);
}

#[tokio::test]
async fn wake_ups_reach_everyone_and_collapse() {
    let bus = Local::new();
    bus.wake();
    let (mut one, mut two) = (bus.wake_ups(), bus.wake_ups());
    assert!(
        timeout(QUIET, one.next()).await.is_err(),
        "what came before is not heard"
    );
    bus.wake();
    bus.wake();
    timeout(SOON, one.next()).await.unwrap();
    timeout(SOON, two.next()).await.unwrap();
    assert!(timeout(QUIET, one.next()).await.is_err());
}

#[tokio::test]
async fn the_silent_bus_loses_everything() {
    let (bus, key) = (Silent, key());
    let (mut subscription, mut wake_ups) = (bus.subscribe(key), bus.wake_ups());
    bus.hint(key, 1);
    bus.delta(key, delta(0, "x"));
    bus.wake();
    assert!(timeout(QUIET, subscription.next()).await.is_err());
    assert!(timeout(QUIET, wake_ups.next()).await.is_err());
}

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
