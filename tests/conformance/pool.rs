//! The pool: who works, whether they are to go on, and how much there is to do.

use std::sync::Arc;

use perennial_broker::log::memory::Memory;
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_broker::pool;
use perennial_engine::ports::{
    Backlog, Demand, HARNESS_PATIENCE_MILLIS, Pool, PoolWorker, Ready, Standing, WORKER_GONE_MILLIS, WorkerCard,
};
use perennial_schema::OwnerId;
use perennial_schema::agent::Harness;
use uuid::Uuid;

use crate::fixture::{Hand, Rig, TTL, client, database, open, open_with};

/// A pool under test, and the sessions it works on.
struct Desk {
    pool: Arc<dyn Pool>,
    /// The same pool seen by another process.
    elsewhere: Arc<dyn Pool>,
    rig: Rig,
}

impl Desk {
    fn memory() -> Self {
        let clock = Hand::new();
        let store = Memory::new(Arc::<Hand>::clone(&clock));
        let pool = Arc::new(pool::Memory::new(store.clone(), Arc::<Hand>::clone(&clock)));
        Self {
            // One process is all there is.
            elsewhere: pool.clone(),
            pool,
            rig: Rig::over(Arc::new(store), clock),
        }
    }

    async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        let (pool, elsewhere) = (pool::embedded(store.clone()), pool::embedded(store.clone()));
        let rig = Rig {
            _dir: Some(Arc::new(dir)),
            ..Rig::over(Arc::new(store), clock)
        };
        Self { pool, elsewhere, rig }
    }

    async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let store = Postgres::open(&url, settings()).await.unwrap();
        let other = Postgres::open(&url, settings()).await.unwrap();
        Some(Self {
            pool: pool::shared(&store),
            elsewhere: pool::shared(&other),
            rig: Rig::over(Arc::new(store), clock),
        })
    }

    async fn attend(&self, owner: OwnerId) -> Standing {
        self.pool.attend(owner, &card(4)).await.unwrap()
    }

    async fn workers(&self) -> Vec<PoolWorker> {
        self.elsewhere.workers().await.unwrap()
    }

    async fn owners(&self) -> Vec<OwnerId> {
        self.workers().await.into_iter().map(|worker| worker.owner).collect()
    }

    async fn backlog(&self) -> Backlog {
        self.elsewhere.backlog().await.unwrap()
    }

    fn pass(&self, millis: u64) {
        self.rig.clock.advance(i64::try_from(millis).unwrap());
    }
}

fn card(slots: u32) -> WorkerCard {
    WorkerCard {
        name: "a host 7".to_owned(),
        version: "1.2.3".to_owned(),
        slots,
        harnesses: vec!["native".to_owned(), "acp:mine".to_owned()],
    }
}

fn owner() -> OwnerId {
    OwnerId::from_uuid(Uuid::now_v7())
}

macro_rules! on_every_pool {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Desk::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Desk::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(desk) = super::Desk::postgres().await {
                    super::$case(desk).await;
                }
            })*
        }
    };
}

on_every_pool![
    a_worker_says_what_it_is_and_that_it_is_here,
    a_worker_that_is_not_heard_of_is_gone_until_it_is,
    a_worker_that_leaves_is_gone,
    who_never_left_is_forgotten_when_another_joins,
    what_is_wanted_is_heard_at_the_next_attendance,
    sessions_that_are_held_are_counted_by_holder,
    the_backlog_is_what_waits_and_what_is_held,
    only_active_workers_count_as_room,
    demand_is_counted_by_harness,
    nobody_waits_for_a_cordoned_worker,
];

async fn a_worker_says_what_it_is_and_that_it_is_here(desk: Desk) {
    assert_eq!(desk.workers().await, []);
    let (first, second) = (owner(), owner());
    assert_eq!(desk.attend(first).await, Standing::Active);
    let joined_at = desk.rig.now();
    desk.pass(5_000);
    assert_eq!(desk.attend(second).await, Standing::Active);
    assert_eq!(desk.attend(first).await, Standing::Active);
    let expected = PoolWorker {
        owner: first,
        card: card(4),
        standing: Standing::Active,
        held: 0,
        joined_at,
        seen_at: desk.rig.now(),
    };
    assert_eq!(desk.workers().await.first(), Some(&expected));
    assert_eq!(desk.owners().await, [first, second]);
}

async fn a_worker_that_is_not_heard_of_is_gone_until_it_is(desk: Desk) {
    let lost = owner();
    desk.attend(lost).await;
    desk.elsewhere.steer(lost, Standing::Cordoned).await.unwrap();
    desk.pass(WORKER_GONE_MILLIS - 1);
    assert_eq!(desk.owners().await, [lost]);
    desk.pass(1);
    assert_eq!(desk.owners().await, []);
    assert_eq!(desk.elsewhere.steer(lost, Standing::Active).await.unwrap(), None);
    assert_eq!(desk.backlog().await.workers, 0);
    // It was only slow, and is still to do what it was told.
    assert_eq!(desk.attend(lost).await, Standing::Cordoned);
    assert_eq!(desk.owners().await, [lost]);
}

async fn a_worker_that_leaves_is_gone(desk: Desk) {
    let (left, stays) = (owner(), owner());
    desk.attend(left).await;
    desk.attend(stays).await;
    desk.pool.leave(left).await.unwrap();
    desk.pool.leave(left).await.unwrap();
    assert_eq!(desk.owners().await, [stays]);
}

async fn who_never_left_is_forgotten_when_another_joins(desk: Desk) {
    let (killed, next) = (owner(), owner());
    desk.attend(killed).await;
    desk.elsewhere.steer(killed, Standing::Cordoned).await.unwrap();
    desk.pass(3_600_001);
    desk.attend(next).await;
    desk.pass(1);
    // As if it had never been here.
    assert_eq!(desk.attend(killed).await, Standing::Active);
    assert_eq!(desk.owners().await, [next, killed]);
}

async fn what_is_wanted_is_heard_at_the_next_attendance(desk: Desk) {
    let (told, other) = (owner(), owner());
    desk.attend(told).await;
    desk.attend(other).await;
    for standing in [
        Standing::Cordoned,
        Standing::Draining,
        Standing::Draining,
        Standing::Active,
    ] {
        let steered = desk.elsewhere.steer(told, standing).await.unwrap().unwrap();
        assert_eq!((steered.owner, steered.standing), (told, standing));
        assert_eq!(desk.attend(told).await, standing);
        assert_eq!(desk.attend(other).await, Standing::Active);
    }
    assert_eq!(desk.elsewhere.steer(owner(), Standing::Draining).await.unwrap(), None);
}

async fn sessions_that_are_held_are_counted_by_holder(desk: Desk) {
    let (key, holder, epoch) = desk.rig.held().await;
    let idle = owner();
    desk.attend(holder).await;
    desk.attend(idle).await;
    let held = |workers: Vec<PoolWorker>, owner| workers.into_iter().find(|worker| worker.owner == owner).unwrap().held;
    assert_eq!(held(desk.workers().await, holder), 1);
    assert_eq!(held(desk.workers().await, idle), 0);
    let steered = desk.elsewhere.steer(holder, Standing::Draining).await.unwrap().unwrap();
    assert_eq!(steered.held, 1);
    let head = desk.rig.row(key).await.head;
    desk.rig.store.release(key, epoch, Ready::Now, head).await.unwrap();
    assert_eq!(held(desk.workers().await, holder), 0);
}

async fn the_backlog_is_what_waits_and_what_is_held(desk: Desk) {
    assert_eq!(desk.backlog().await, Backlog::default());
    desk.rig.held().await;
    let _idle = desk.rig.session().await;
    let waits = desk.rig.session().await;
    desk.rig.say(waits, "hello").await;
    desk.pass(1_500);
    // Another tenant's counts as well: workers serve all.
    let other = desk.rig.tenant();
    let waits_too = other.session().await;
    other.say(waits_too, "hello").await;
    let later = desk.rig.session().await;
    let at = desk.rig.now().plus_millis(60_000);
    let message = desk.rig.message("later");
    desk.rig
        .append(client(later, vec![message], Ready::At(at)))
        .await
        .unwrap();
    let expected = Backlog {
        ready: 2,
        over: 0,
        held: 1,
        oldest_millis: 1_500,
        workers: 0,
        slots: 0,
    };
    assert_eq!(desk.backlog().await, expected);
    desk.pass(60_000);
    assert_eq!(desk.backlog().await.ready, 3);
}

async fn only_active_workers_count_as_room(desk: Desk) {
    let (first, second) = (owner(), owner());
    desk.attend(first).await;
    desk.pool.attend(second, &card(8)).await.unwrap();
    let room = |backlog: Backlog| (backlog.workers, backlog.slots);
    assert_eq!(room(desk.backlog().await), (2, 12));
    desk.elsewhere.steer(second, Standing::Cordoned).await.unwrap();
    assert_eq!(room(desk.backlog().await), (1, 4));
    desk.elsewhere.steer(first, Standing::Draining).await.unwrap();
    assert_eq!(room(desk.backlog().await), (0, 0));
}

async fn demand_is_counted_by_harness(desk: Desk) {
    assert_eq!(desk.elsewhere.demand().await.unwrap(), []);
    desk.rig.held().await;
    for _ in 0..2 {
        desk.rig.wants(Harness::Codex).await;
        desk.pass(1_000);
    }
    let _idle = desk.rig.session().await;
    let of = |harness: &str, ready, held, oldest_millis| Demand {
        harness: harness.to_owned(),
        ready,
        held,
        oldest_millis,
    };
    let expected = [of("codex", 2, 0, 2_000), of("native", 0, 1, 0)];
    assert_eq!(desk.elsewhere.demand().await.unwrap(), expected);
}

/// It has what a session wants, and claims nothing: another one takes it and says what is missing.
async fn nobody_waits_for_a_cordoned_worker(desk: Desk) {
    let waits = desk.rig.wants(Harness::Codex).await;
    let rich = desk.rig.owner_with(&["codex"]).await;
    let plain = desk.rig.owner_with(&["native"]).await;
    desk.attend(rich).await;
    desk.attend(plain).await;
    for _ in 0..4 {
        desk.pass(HARNESS_PATIENCE_MILLIS / 4);
        for owner in [rich, plain] {
            desk.rig.store.renew(owner, TTL).await.unwrap();
        }
    }
    assert!(desk.rig.claim(plain, 10).await.is_empty());
    desk.elsewhere.steer(rich, Standing::Cordoned).await.unwrap();
    let claimed = desk.rig.claim(plain, 10).await;
    assert_eq!(
        claimed.iter().map(|claimed| claimed.row.key).collect::<Vec<_>>(),
        [waits]
    );
}

/// What nobody may take is nothing to start a worker for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_a_workspaces_slots_wants_no_worker() {
    let clock = Hand::new();
    let memory = Memory::new(Arc::<Hand>::clone(&clock)).with_workspace_slots(2);
    let kept: Arc<dyn Pool> = Arc::new(pool::Memory::new(memory.clone(), Arc::<Hand>::clone(&clock)));
    let mut pools = vec![(kept, Rig::over(Arc::new(memory), clock))];
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::new();
    let store = open_with(dir.path(), &clock, Some(2)).await;
    pools.push((pool::embedded(store.clone()), Rig::over(Arc::new(store), clock)));
    if let Some(url) = database().await {
        let clock = Hand::new();
        let settings = Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            workspace_slots: Some(2),
            ..Settings::default()
        };
        let store = Postgres::open(&url, settings).await.unwrap();
        pools.push((pool::shared(&store), Rig::over(Arc::new(store), clock)));
    }
    for (pool, rig) in pools {
        let (other, owner) = (rig.tenant(), rig.owner().await);
        for (tenant, many) in [(&rig, 4), (&other, 1)] {
            for _ in 0..many {
                tenant.wants(Harness::Native).await;
            }
        }
        let backlog = pool.backlog().await.unwrap();
        assert_eq!((backlog.ready, backlog.over, backlog.wanted_slots()), (5, 2, 3));
        assert_eq!(rig.claim(owner, 10).await.len(), 3);
        let backlog = pool.backlog().await.unwrap();
        assert_eq!((backlog.ready, backlog.over, backlog.wanted_slots()), (2, 2, 3));
    }
}
