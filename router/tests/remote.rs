//! A process without hands asks one with hands, over the bus.

#![expect(
    clippy::unwrap_used,
    reason = "these helpers are test code, which clippy recognises only inside the test functions"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use perennial_broker::bus::local::Local;
use perennial_engine::ports::{Bus as _, CallError, Order, Placement, Router, SessionKey, Settled, ToolSpec};
use perennial_router::{Exchange, Remote, Settings, relay};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId, SessionId, WorkspaceId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const AT: ExecutorId = ExecutorId::from_uuid(Uuid::from_u128(1));
const FROM: SessionId = SessionId::from_uuid(Uuid::from_u128(10));

/// No machine has dialled in.
fn nobody() -> Arc<Exchange> {
    Arc::new(Exchange::new(Settings::default()))
}

/// Hands whose copies take until they are let.
struct Hands {
    copies: AtomicUsize,
    forgotten: AtomicUsize,
    gate: Semaphore,
    fails: bool,
}

#[async_trait]
impl Router for Hands {
    async fn catalogue(&self, _: SessionKey, _: &AgentSnapshot, _: &EnvironmentConfig) -> Vec<ToolSpec> {
        Vec::new()
    }

    async fn place(&self, _: SessionKey, _: &EnvironmentConfig) -> Result<Placement, String> {
        Err("not asked".into())
    }

    async fn call(&self, _: Order) -> Result<Outcome, CallError> {
        Err(CallError::NotStarted("not asked".into()))
    }

    async fn settle(&self, _: Order) -> Result<Settled, CallError> {
        Err(CallError::NotStarted("not asked".into()))
    }

    async fn cancel(&self, _: SessionKey, _: u64, _: EventId) {}

    async fn copy_workspace(&self, from: SessionId, _: SessionId, at: Option<ExecutorId>) -> Result<(), String> {
        assert_eq!((from, at), (FROM, Some(AT)));
        self.copies.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if self.fails { Err("disk full".into()) } else { Ok(()) }
    }

    async fn forget(&self, _: SessionId, at: Option<ExecutorId>) {
        assert_eq!(at, Some(AT));
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

struct Rig {
    remote: Arc<Remote>,
    hands: Arc<Hands>,
    bus: Local,
    stop: CancellationToken,
}

/// One process without hands and `relays` with the same.
async fn rig(relays: u128, fails: bool) -> Rig {
    let (bus, stop) = (Local::new(), CancellationToken::new());
    let hands = Arc::new(Hands {
        copies: AtomicUsize::new(0),
        forgotten: AtomicUsize::new(0),
        gate: Semaphore::new(0),
        fails,
    });
    for n in 0..relays {
        let desk = ExecutorId::from_uuid(Uuid::from_u128(100 + n));
        let (router, bus): (Arc<dyn Router>, _) = (Arc::<Hands>::clone(&hands), Arc::new(bus.clone()));
        tokio::spawn(relay(router, bus, AT, desk, stop.clone()));
    }
    // They listen once they have been polled.
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let remote = Arc::new(Remote::new(Arc::new(bus.clone()), nobody()));
    Rig {
        remote,
        hands,
        bus,
        stop,
    }
}

fn to() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_done_there_and_its_end_is_told() {
    for fails in [false, true] {
        let rig = rig(1, fails).await;
        rig.hands.gate.add_permits(1);
        let copied = rig.remote.copy_workspace(FROM, to(), Some(AT)).await;
        assert_eq!(copied, if fails { Err("disk full".to_owned()) } else { Ok(()) });
        rig.remote.forget(FROM, Some(AT)).await;
        assert_eq!(rig.hands.forgotten.load(Ordering::SeqCst), 1);
        rig.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_takes_long_is_done_once() {
    let rig = rig(4, false).await;
    let copying = {
        let remote = Arc::clone(&rig.remote);
        tokio::spawn(async move { remote.copy_workspace(FROM, to(), Some(AT)).await })
    };
    // Many times as long as one question waits.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!copying.is_finished());
    rig.hands.gate.add_permits(10);
    assert_eq!(copying.await.unwrap(), Ok(()));
    assert_eq!(rig.hands.copies.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endless_copy_is_given_up() {
    let rig = rig(1, false).await;
    let copied = rig.remote.copy_workspace(FROM, to(), Some(AT)).await;
    assert_eq!(copied, Err("the copy took too long".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn when_nobody_answers_that_is_said() {
    let rig = rig(0, false).await;
    let copied = rig.remote.copy_workspace(FROM, to(), Some(AT)).await;
    assert!(copied.unwrap_err().contains("no worker"));
    rig.remote.forget(FROM, Some(AT)).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_place_there_is_nothing_to_copy() {
    let rig = rig(0, false).await;
    assert_eq!(rig.remote.copy_workspace(FROM, to(), None).await, Ok(()));
    rig.remote.forget(FROM, None).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_the_bus_is_refused() {
    let rig = rig(1, false).await;
    for question in [&b"{}"[..], b"", b"{\"ping\":{\"nonce\":1}}", b"\xff"] {
        let answer = rig.bus.request(AT, Bytes::from_static(question)).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"\"refused\"")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_relay_answers_nobody() {
    let rig = rig(1, false).await;
    let copying = {
        let remote = Arc::clone(&rig.remote);
        tokio::spawn(async move { remote.copy_workspace(FROM, to(), Some(AT)).await })
    };
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    rig.stop.cancel();
    assert!(copying.await.unwrap().unwrap_err().contains("no worker"));
}

#[tokio::test]
async fn calls_have_no_place_here() {
    let remote = Remote::new(Arc::new(Local::new()), nobody());
    let key = SessionKey {
        workspace: WorkspaceId::from_uuid(Uuid::nil()),
        session: FROM,
    };
    let environment = EnvironmentConfig::Local {
        executor_id: None,
        dir: None,
        preparation: Preparation::default(),
    };
    let refused = remote.place(key, &environment).await.unwrap_err();
    assert!(refused.contains("a worker does"), "{refused}");
}
