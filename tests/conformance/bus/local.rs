//! What only the bus within a process promises, and the one that loses everything.

use std::time::Duration;

use bytes::Bytes;
use perennial_broker::bus::local::Local;
use perennial_broker::bus::silent::Silent;
use perennial_engine::ports::{Bus as _, Notice, Unanswered};
use tokio::time::timeout;

use super::{QUIET, SOON, delta, executor, heard, key};

#[tokio::test]
async fn waiting_hints_are_one() {
    let (bus, key) = (Local::new(), key());
    bus.hint(key, 9);
    let mut subscription = bus.subscribe(key);
    assert!(
        timeout(QUIET, subscription.next()).await.is_err(),
        "what came before is not heard"
    );
    for seq in [1, 2, 5, 4] {
        bus.hint(key, seq);
    }
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 5 }));
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

#[tokio::test]
async fn dropping_the_bus_ends_subscriptions() {
    let (bus, key) = (Local::new(), key());
    let clone = bus.clone();
    let mut subscription = bus.subscribe(key);
    let mut requests = bus.requests(executor());
    bus.hint(key, 1);
    drop(bus);
    clone.hint(key, 2);
    drop(clone);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    assert_eq!(heard(&mut subscription).await, None);
    assert!(timeout(SOON, requests.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn wake_ups_reach_everyone() {
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
async fn who_asks_learns_at_once_that_the_last_listener_left() {
    let (bus, at) = (Local::new(), executor());
    let (one, two) = (bus.requests(at), bus.requests(at));
    drop(one);
    let asks = tokio::spawn({
        let bus = bus.clone();
        async move { bus.request(at, Bytes::new()).await }
    });
    tokio::task::yield_now().await;
    drop(two);
    let answer = timeout(Duration::from_secs(1), asks).await.unwrap().unwrap();
    assert_eq!(answer, Err(Unanswered));
}

#[tokio::test]
async fn the_silent_bus_loses_everything() {
    let (bus, key, at) = (Silent, key(), executor());
    let (mut subscription, mut wake_ups) = (bus.subscribe(key), bus.wake_ups());
    let (mut changes, mut requests) = (bus.changes(key.workspace), bus.requests(at));
    bus.hint(key, 1);
    bus.delta(key, delta(0, "x"));
    bus.wake();
    bus.changed(key.workspace);
    assert_eq!(bus.request(at, Bytes::new()).await, Err(Unanswered));
    assert!(timeout(QUIET, subscription.next()).await.is_err());
    assert!(timeout(QUIET, wake_ups.next()).await.is_err());
    assert!(timeout(QUIET, changes.next()).await.is_err());
    assert!(timeout(QUIET, requests.next()).await.is_err());
}
