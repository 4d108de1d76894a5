//! Work queues: who has which piece, when several look at once.

use std::sync::Arc;

use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_broker::work;
use perennial_engine::ports::{
    Beat, LastBeat, WORK_KEPT_MILLIS, WORKER_SEEN_MILLIS, Work, WorkQueueKey, WorkQueues, WorkState,
};
use perennial_schema::{EnvironmentId, KeyId, SessionId, WorkId};
use uuid::Uuid;

use crate::fixture::{Hand, database, open, workspace};

/// Queues under test, and the clock they go by.
struct Desk {
    queues: Arc<dyn WorkQueues>,
    /// The same queues seen by another process.
    elsewhere: Arc<dyn WorkQueues>,
    clock: Arc<Hand>,
    queue: WorkQueueKey,
    _dir: Option<tempfile::TempDir>,
}

impl Desk {
    fn of(queues: [Arc<dyn WorkQueues>; 2], clock: Arc<Hand>, dir: Option<tempfile::TempDir>) -> Self {
        let [queues, elsewhere] = queues;
        Self {
            queues,
            elsewhere,
            clock,
            queue: queue(),
            _dir: dir,
        }
    }

    fn memory() -> Self {
        let clock = Hand::new();
        let queues: Arc<dyn WorkQueues> = Arc::new(work::Memory::new(Arc::<Hand>::clone(&clock)));
        Self::of([Arc::clone(&queues), queues], clock, None)
    }

    async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        let queues = [work::embedded(store.clone()), work::embedded(store)];
        Self::of(queues, clock, Some(dir))
    }

    async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let here = Postgres::open(&url, settings()).await.unwrap();
        let there = Postgres::open(&url, settings()).await.unwrap();
        Some(Self::of(
            [work::shared(&here), work::shared(&there)],
            Arc::clone(&clock),
            None,
        ))
    }

    async fn open(&self) -> Vec<Work> {
        let (now, found) = self.elsewhere.open(self.queue, 5000, 100).await.unwrap();
        assert_eq!(now, perennial_engine::ports::Clock::now(&*self.clock));
        found
    }

    /// A piece that is in the queue.
    async fn queued(&self) -> Work {
        let work = fresh(self.queue, session(), perennial_engine::ports::Clock::now(&*self.clock));
        assert!(self.queues.add(&work).await.unwrap());
        work
    }

    async fn stored(&self, id: WorkId) -> Work {
        self.elsewhere.piece(id).await.unwrap().unwrap().1
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(i64::try_from(millis).unwrap());
    }
}

fn queue() -> WorkQueueKey {
    WorkQueueKey {
        workspace: workspace(),
        environment: EnvironmentId::from_uuid(Uuid::now_v7()),
    }
}

fn session() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

fn fresh(queue: WorkQueueKey, session: SessionId, now: perennial_schema::Timestamp) -> Work {
    Work::new(WorkId::from_uuid(Uuid::now_v7()), queue, session, 3, now)
}

macro_rules! on_every_desk {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
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

on_every_desk![
    a_piece_is_kept_whole,
    a_session_has_one_piece_at_a_time,
    of_those_who_take_a_piece_one_has_it,
    an_empty_queue_tells_the_time,
    pieces_are_listed_newest_first_and_forgotten_at_last,
    queues_do_not_see_each_other,
    workers_count_while_they_ask,
];

async fn a_piece_is_kept_whole(desk: Desk) {
    let mut work = desk.queued().await;
    desk.pass(1);
    let now = work.created_at.plus_millis(1);
    work.hand_out([7; 32], KeyId::from_uuid(Uuid::now_v7()), Some("host-ünï-1"), now);
    work.acknowledge(1000, now).unwrap();
    let beat = Beat {
        last: LastBeat::None,
        repeated: false,
        ttl_millis: 1000,
    };
    work.beat(&beat, now).unwrap();
    let first = work.beat_at.unwrap();
    work.beat(
        &Beat {
            last: LastBeat::At(first),
            ..beat
        },
        now.plus_millis(1),
    )
    .unwrap();
    work.metadata.insert("a".into(), "\"b\"".into());
    assert!(desk.queues.swap(1, &work).await.unwrap());
    let stored = desk.stored(work.id).await;
    assert_eq!(
        stored,
        Work {
            revision: 2,
            ..work.clone()
        }
    );
    work.stop(true, now).unwrap();
    assert!(desk.queues.swap(2, &work).await.unwrap());
    assert_eq!(desk.stored(work.id).await, Work { revision: 3, ..work });
}

async fn a_session_has_one_piece_at_a_time(desk: Desk) {
    let mut first = desk.queued().await;
    let again = fresh(desk.queue, first.session, first.created_at);
    assert!(!desk.elsewhere.add(&again).await.unwrap());
    first.end(first.created_at);
    assert!(desk.queues.swap(1, &first).await.unwrap());
    assert!(desk.elsewhere.add(&again).await.unwrap());
    let states: Vec<WorkState> = desk.open().await.into_iter().map(|work| work.state).collect();
    assert!(states.contains(&WorkState::Queued) && states.contains(&WorkState::Stopped));
    desk.pass(5000);
    assert_eq!(desk.open().await.len(), 1, "what stopped long ago is not in the queue");
}

async fn of_those_who_take_a_piece_one_has_it(desk: Desk) {
    let work = desk.queued().await;
    let takes = (0..8_u8).map(|n| {
        let queues = Arc::clone(if n % 2 == 0 { &desk.queues } else { &desk.elsewhere });
        let mut taken = work.clone();
        taken.hand_out([n; 32], KeyId::from_uuid(Uuid::now_v7()), None, work.created_at);
        tokio::spawn(async move { (n, queues.swap(1, &taken).await.unwrap()) })
    });
    let mut winners = Vec::new();
    for take in takes.collect::<Vec<_>>() {
        let (n, won) = take.await.unwrap();
        winners.extend(won.then_some(n));
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(desk.stored(work.id).await.token, Some([winners[0]; 32]));
    let gone = fresh(desk.queue, session(), work.created_at);
    assert!(!desk.queues.swap(1, &gone).await.unwrap(), "there is no such piece");
}

async fn an_empty_queue_tells_the_time(desk: Desk) {
    assert!(desk.open().await.is_empty());
    assert!(
        desk.queues
            .piece(WorkId::from_uuid(Uuid::now_v7()))
            .await
            .unwrap()
            .is_none()
    );
}

async fn pieces_are_listed_newest_first_and_forgotten_at_last(desk: Desk) {
    let mut pieces = Vec::new();
    for _ in 0..5 {
        pieces.push(desk.queued().await);
        desk.pass(1);
    }
    let open: Vec<WorkId> = desk.open().await.into_iter().map(|work| work.id).collect();
    let ids: Vec<WorkId> = pieces.iter().map(|work| work.id).collect();
    assert_eq!(open, ids);
    let page = desk.elsewhere.list(desk.queue, None, 2).await.unwrap();
    assert_eq!(page.iter().map(|work| work.id).collect::<Vec<_>>(), [ids[4], ids[3]]);
    let place = Some((page[1].created_at, page[1].id));
    let rest = desk.elsewhere.list(desk.queue, place, 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|work| work.id).collect::<Vec<_>>(),
        [ids[2], ids[1], ids[0]]
    );
    let mut ended = pieces[0].clone();
    ended.end(ended.created_at);
    desk.queues.swap(1, &ended).await.unwrap();
    desk.pass(WORK_KEPT_MILLIS + 1);
    desk.queued().await;
    assert!(desk.elsewhere.piece(ids[0]).await.unwrap().is_none());
    assert_eq!(desk.open().await.len(), 5, "what waits is not forgotten");
}

async fn queues_do_not_see_each_other(desk: Desk) {
    let work = desk.queued().await;
    for other in [
        WorkQueueKey {
            environment: EnvironmentId::from_uuid(Uuid::now_v7()),
            ..desk.queue
        },
        WorkQueueKey {
            workspace: workspace(),
            ..desk.queue
        },
    ] {
        assert!(desk.queues.open(other, 5000, 100).await.unwrap().1.is_empty());
        assert!(desk.queues.list(other, None, 100).await.unwrap().is_empty());
        let mut foreign = Work {
            queue: other,
            ..work.clone()
        };
        foreign.end(work.created_at);
        assert!(!desk.queues.swap(1, &foreign).await.unwrap());
        assert_eq!(desk.queues.attending(other).await.unwrap(), 0);
    }
}

async fn workers_count_while_they_ask(desk: Desk) {
    desk.queues.attend(desk.queue, "a").await.unwrap();
    desk.elsewhere.attend(desk.queue, "b").await.unwrap();
    desk.queues.attend(queue(), "c").await.unwrap();
    assert_eq!(desk.queues.attending(desk.queue).await.unwrap(), 2);
    desk.pass(WORKER_SEEN_MILLIS - 1000);
    desk.queues.attend(desk.queue, "b").await.unwrap();
    desk.pass(1000);
    assert_eq!(desk.elsewhere.attending(desk.queue).await.unwrap(), 1);
}
