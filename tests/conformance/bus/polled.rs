//! The bus that looks: what another process commits is found, and nothing is asked while nobody listens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use perennial_broker::bus::polled::{Heads, Polled};
use perennial_engine::ports::{Bus as _, Notice, SessionKey, StoreError};
use tokio::time::timeout;

use super::{QUIET, SOON, delta, heard, key};

const EVERY: Duration = Duration::from_millis(5);

/// A store as another process leaves it.
#[derive(Default)]
struct Store {
    heads: Mutex<HashMap<SessionKey, u64>>,
    looks: AtomicUsize,
    down: Mutex<bool>,
}

impl Store {
    fn commit(&self, key: SessionKey, seq: u64) {
        self.heads.lock().unwrap().insert(key, seq);
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Heads for Store {
    async fn heads(&self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, u64)>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if *self.down.lock().unwrap() {
            return Err(StoreError::Unavailable {
                store: "other",
                message: "gone".into(),
            });
        }
        let heads = self.heads.lock().unwrap();
        Ok(keys.iter().filter_map(|key| Some((*key, *heads.get(key)?))).collect())
    }
}

fn looking() -> (Arc<Store>, Polled) {
    let store = Arc::<Store>::default();
    (Arc::clone(&store), Polled::every(store, EVERY))
}

#[tokio::test]
async fn what_another_process_commits_is_found_once() {
    let ((store, bus), key, other) = (looking(), key(), key());
    let (mut subscription, mut deaf) = (bus.subscribe(key), bus.subscribe(other));
    for seq in [3, 4] {
        store.commit(key, seq);
        assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq }));
    }
    assert!(timeout(QUIET, subscription.next()).await.is_err());
    assert!(timeout(QUIET, deaf.next()).await.is_err());
}

#[tokio::test]
async fn what_this_process_says_is_heard_at_once() {
    let store = Arc::<Store>::default();
    // It never looks a second time.
    let (bus, key) = (Polled::every(store, Duration::from_secs(3600)), key());
    let mut subscription = bus.subscribe(key);
    let piece = delta(0, "x");
    bus.delta(key, piece.clone());
    bus.hint(key, 1);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Delta(piece)));
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 1 }));
    let (mut alarm, mut changes) = (bus.wake_ups(), bus.changes(key.workspace));
    bus.wake();
    bus.changed(key.workspace);
    timeout(SOON, alarm.next()).await.unwrap();
    timeout(SOON, changes.next()).await.unwrap();
}

#[tokio::test]
async fn nobody_listens_and_nothing_is_asked() {
    let ((store, bus), key) = (looking(), key());
    tokio::time::sleep(QUIET).await;
    assert_eq!(store.looks(), 0);
    store.commit(key, 1);
    let mut subscription = bus.subscribe(key);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 1 }));
    drop(subscription);
    // One more look may be under way.
    tokio::time::sleep(QUIET).await;
    let before = store.looks();
    tokio::time::sleep(QUIET).await;
    assert_eq!(store.looks(), before);
}

#[tokio::test]
async fn a_store_that_is_down_is_looked_at_again() {
    let ((store, bus), key) = (looking(), key());
    *store.down.lock().unwrap() = true;
    store.commit(key, 5);
    let mut subscription = bus.subscribe(key);
    assert!(timeout(QUIET, subscription.next()).await.is_err());
    assert!(store.looks() > 0);
    *store.down.lock().unwrap() = false;
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 5 }));
}

#[tokio::test]
async fn workers_and_feeds_are_sent_to_look() {
    let (_store, bus) = looking();
    let (mut alarm, mut changes) = (bus.wake_ups(), bus.changes(key().workspace));
    for _ in 0..3 {
        timeout(SOON, alarm.next()).await.unwrap();
        timeout(SOON, changes.next()).await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_bus_ends_subscriptions() {
    let ((_store, bus), key) = (looking(), key());
    let mut subscription = bus.subscribe(key);
    drop(bus);
    assert_eq!(heard(&mut subscription).await, None);
}
