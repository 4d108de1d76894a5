//! The pool with processes that are none.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;

/// A pretended process: counts itself while it lives.
struct Fake {
    name: u128,
    bytes: u64,
    spoilt: watch::Receiver<bool>,
    alive: Arc<AtomicUsize>,
    slot: Option<Slot>,
}

#[async_trait]
impl Waiter for Fake {
    async fn spoils(&mut self) -> String {
        let _ = self.spoilt.wait_for(|spoilt| *spoilt).await;
        "spoilt".into()
    }

    fn resident_bytes(&self) -> u64 {
        self.bytes
    }

    fn process_id(&self) -> Option<u32> {
        u32::try_from(self.name).ok()
    }

    async fn end(mut self) {
        // Dying takes its time.
        sleep(Duration::from_millis(30)).await;
        self.slot = None;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Rig {
    pool: Pool<Fake>,
    alive: Arc<AtomicUsize>,
    spoil: watch::Sender<bool>,
}

fn session(name: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(name))
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self {
            pool: Pool::new(limits),
            alive: Arc::default(),
            spoil: watch::Sender::new(false),
        }
    }

    fn fake(&self, name: u128, bytes: u64, slot: Option<Slot>) -> Fake {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Fake {
            name,
            bytes,
            spoilt: self.spoil.subscribe(),
            alive: self.alive.clone(),
            slot,
        }
    }

    fn rest(&self, name: u128) -> Ticket {
        self.pool.keep(session(name), self.fake(name, 10, None), Waits::ForTurn)
    }

    async fn settled(&self) {
        sleep(Duration::from_millis(100)).await;
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> Vec<u128> {
        (0..10)
            .filter(|name| self.pool.waiting(session(*name)).is_some())
            .collect()
    }
}

fn limits(resting: usize, resting_bytes: u64) -> Limits {
    Limits {
        resting,
        resting_bytes,
        ..Limits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_finds_its_own_process_once() {
    let rig = Rig::new(Limits::default());
    rig.rest(1);
    rig.rest(2);
    let taken = rig.pool.take(session(1)).await.unwrap();
    assert_eq!(taken.name, 1);
    assert!(rig.pool.take(session(1)).await.is_none());
    drop(taken);
    assert_eq!((rig.alive(), rig.waiting()), (1, vec![2]));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_number_the_longest_at_rest_goes() {
    let rig = Rig::new(limits(2, u64::MAX));
    for name in 1..=4 {
        rig.rest(name);
        rig.settled().await;
    }
    assert_eq!((rig.alive(), rig.waiting()), (2, vec![3, 4]));
    // In mid-turn is not at rest.
    rig.pool.keep(session(5), rig.fake(5, 10, None), Waits::ForResults);
    rig.settled().await;
    assert_eq!((rig.alive(), rig.waiting()), (3, vec![3, 4, 5]));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_memory_the_longest_at_rest_goes() {
    let rig = Rig::new(limits(9, 25));
    for name in 1..=3 {
        rig.rest(name);
        rig.settled().await;
    }
    assert_eq!((rig.alive(), rig.waiting()), (2, vec![2, 3]));
    rig.pool.keep(session(4), rig.fake(4, 30, None), Waits::ForTurn);
    rig.settled().await;
    assert_eq!(rig.alive(), 0, "one that alone is too large does not stay either");
}

#[tokio::test(start_paused = true)]
async fn rest_is_not_for_ever_and_waiting_for_results_is() {
    let rig = Rig::new(Limits::default());
    rig.rest(1);
    rig.pool.keep(session(2), rig.fake(2, 10, None), Waits::ForResults);
    sleep(Limits::default().rest * 2).await;
    assert_eq!((rig.alive(), rig.waiting()), (1, vec![2]));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_spoilt_leaves_by_itself() {
    let rig = Rig::new(Limits::default());
    rig.rest(1);
    rig.spoil.send_replace(true);
    rig.settled().await;
    assert_eq!((rig.alive(), rig.waiting()), (0, vec![]));
    assert!(rig.pool.take(session(1)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_old_ticket_does_not_end_what_came_after_it() {
    let rig = Rig::new(Limits::default());
    let first = rig.rest(1);
    let second = rig.rest(1);
    rig.settled().await;
    assert_eq!(rig.alive(), 1, "one per session");
    rig.pool.end(session(1), first).await;
    assert_eq!(rig.waiting(), [1]);
    rig.pool.end(session(1), second).await;
    assert_eq!((rig.alive(), rig.waiting()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_slot_gets_that_of_one_at_rest_then_of_one_with_slow_calls() {
    let rig = Rig::new(Limits {
        processes: 2,
        ..Limits::default()
    });
    let slot = rig.pool.slot().await;
    rig.pool
        .keep(session(1), rig.fake(1, 10, Some(slot)), Waits::ForResults);
    let slot = rig.pool.slot().await;
    rig.pool.keep(session(2), rig.fake(2, 10, Some(slot)), Waits::ForTurn);
    rig.settled().await;

    let third = timeout(Duration::from_secs(1), rig.pool.slot()).await.unwrap();
    assert_eq!(rig.waiting(), [1], "who is at rest gave way");
    // A call that began just now is not slow: whoever comes next waits, but not for ever.
    let short = limits::HARNESS_SLOW_CALL / 4;
    assert!(timeout(short, rig.pool.slot()).await.is_err());
    let fourth = timeout(limits::HARNESS_SLOW_CALL * 2, rig.pool.slot()).await.unwrap();
    assert_eq!(rig.waiting(), [] as [u128; 0]);

    // Both at work: the next waits for one of them to end.
    assert!(timeout(limits::HARNESS_SLOW_CALL * 2, rig.pool.slot()).await.is_err());
    drop(third);
    timeout(Duration::from_secs(1), rig.pool.slot()).await.unwrap();
    drop(fourth);
}

#[tokio::test(start_paused = true)]
async fn nobody_rests_while_another_waits_for_a_slot() {
    let rig = Rig::new(Limits {
        processes: 1,
        ..Limits::default()
    });
    let slot = rig.pool.slot().await;
    let queued = tokio::spawn({
        let pool = rig.pool.clone();
        async move { pool.slot().await }
    });
    rig.settled().await;
    rig.pool.keep(session(1), rig.fake(1, 10, Some(slot)), Waits::ForTurn);
    timeout(Duration::from_millis(200), queued).await.unwrap().unwrap();
    assert_eq!(rig.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_them_all_and_keeps_nobody_after() {
    let rig = Rig::new(Limits::default());
    rig.rest(1);
    rig.pool.keep(session(2), rig.fake(2, 10, None), Waits::ForResults);
    rig.pool.close().await;
    assert_eq!(rig.alive(), 0);
    rig.rest(3);
    rig.settled().await;
    assert_eq!((rig.alive(), rig.waiting()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_dropped_leaves_nobody_behind() {
    let rig = Rig::new(Limits::default());
    rig.rest(1);
    let Rig { pool, alive, spoil } = rig;
    drop(pool);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    drop(spoil);
}
