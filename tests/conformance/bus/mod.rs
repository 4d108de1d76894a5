//! What every bus must do, on each of them: within one process, between two nodes of a NATS server, and by looking at the
//! store. A case publishes on one end and hears on the other, and does not know whether they are the same.

mod hinted;
mod local;
mod nats;
mod polled;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use perennial_broker::bus::local::Local;
use perennial_engine::ports::{Bus, Delta, Notice, Request, SessionKey, Subscription, Unanswered};
use perennial_schema::{ExecutorId, WorkspaceId};
use perennial_tests::nats::Nats as Server;
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{Rig, event_id};

/// Long enough for anything that comes at all.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to believe that nothing comes.
const QUIET: Duration = Duration::from_millis(50);

fn key() -> SessionKey {
    Rig::memory().key()
}

fn executor() -> ExecutorId {
    ExecutorId::from_uuid(Uuid::now_v7())
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

/// Two ends of one bus.
struct Pair {
    says: Arc<dyn Bus>,
    hears: Arc<dyn Bus>,
    /// What is between them, and lives as long.
    server: Option<Server>,
}

impl Pair {
    fn local() -> Self {
        let bus = Local::new();
        Self {
            says: Arc::new(bus.clone()),
            hears: Arc::new(bus),
            server: None,
        }
    }

    /// `None` where there is no server to run.
    async fn nats() -> Option<Self> {
        let server = nats::server().await?;
        Some(Self {
            says: Arc::new(nats::node(&server).await),
            hears: Arc::new(nats::node(&server).await),
            server: Some(server),
        })
    }

    /// A subscription from which on nothing is missed: between nodes it begins with word that something may have been.
    async fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription> {
        let mut subscription = self.hears.subscribe(key);
        if self.server.is_some() {
            assert_eq!(heard(&mut subscription).await, Some(Notice::Lagged));
        }
        subscription
    }

    /// Answers everything asked of an executor with what `answer` makes of it, from the hearing end.
    async fn answering(&self, at: ExecutorId, answer: fn(Bytes) -> Option<Bytes>) -> tokio::task::AbortHandle {
        let mut requests = self.hears.requests(at);
        let answers = tokio::spawn(async move {
            while let Some(Request { body, reply }) = requests.next().await {
                if let Some(answer) = answer(body) {
                    reply(answer);
                }
            }
        });
        answers.abort_handle()
    }

    /// Asks until somebody is there to answer.
    async fn asked(&self, to: ExecutorId, body: &'static str) -> Bytes {
        let asking = async {
            loop {
                match self.says.request(to, Bytes::from_static(body.as_bytes())).await {
                    Ok(answer) => return answer,
                    Err(Unanswered) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(SOON, asking).await.unwrap()
    }
}

/// Makes a test of each case on each bus that connects two ends.
macro_rules! on_every_bus {
    ($($case:ident),* $(,)?) => {
        mod within_a_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Pair::local()).await; })*
        }
        mod between_nodes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(pair) = super::Pair::nats().await { super::$case(pair).await; }
            })*
        }
    };
}

on_every_bus!(
    a_subscriber_hears_what_comes_after,
    every_subscriber_of_the_session_hears_and_no_other,
    a_waiting_subscriber_is_woken,
    hints_collapse_into_the_newest,
    a_slow_subscriber_lags_and_goes_on,
    a_burst_is_bounded_for_its_reader,
    order_is_kept,
    changes_are_heard_in_their_workspace,
    nudges_are_heard_by_all_who_mind_it,
    wake_ups_are_heard_and_collapse,
    questions_are_answered,
    a_large_question_is_not_asked,
    without_an_answer_the_wait_ends,
);

async fn a_subscriber_hears_what_comes_after(pair: Pair) {
    let key = key();
    let mut subscription = pair.subscribe(key).await;
    let first = delta(0, "a");
    pair.says.delta(key, first.clone());
    pair.says.hint(key, 2);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Delta(first)));
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

async fn every_subscriber_of_the_session_hears_and_no_other(pair: Pair) {
    let (key, other) = (key(), key());
    let mut one = pair.subscribe(key).await;
    // One subscription is shared: the second is sure at once.
    let mut two = pair.hears.subscribe(key);
    let mut deaf = pair.subscribe(other).await;
    pair.says.hint(key, 7);
    assert_eq!(heard(&mut one).await, Some(Notice::Hint { seq: 7 }));
    assert_eq!(heard(&mut two).await, Some(Notice::Hint { seq: 7 }));
    assert!(timeout(QUIET, deaf.next()).await.is_err());
    drop(one);
    pair.says.hint(key, 8);
    assert_eq!(heard(&mut two).await, Some(Notice::Hint { seq: 8 }), "one of two left");
    drop(two);
    // Whether the last one had left the server already or not: nothing is missed.
    let mut back = pair.hears.subscribe(key);
    pair.says.hint(key, 9);
    let notice = heard(&mut back).await;
    assert!(
        matches!(notice, Some(Notice::Hint { seq: 9 } | Notice::Lagged)),
        "{notice:?}"
    );
}

async fn a_waiting_subscriber_is_woken(pair: Pair) {
    let key = key();
    let mut subscription = pair.subscribe(key).await;
    let waits = tokio::spawn(async move { subscription.next().await });
    tokio::task::yield_now().await;
    pair.says.hint(key, 3);
    assert_eq!(
        timeout(SOON, waits).await.unwrap().unwrap(),
        Some(Notice::Hint { seq: 3 })
    );
}

async fn hints_collapse_into_the_newest(pair: Pair) {
    let key = key();
    let mut subscription = pair.subscribe(key).await;
    for seq in [1, 2, 5, 4] {
        pair.says.hint(key, seq);
    }
    pair.says.delta(key, delta(0, "end"));
    let mut newest = 0;
    while let Some(Notice::Hint { seq }) = heard(&mut subscription).await {
        newest = newest.max(seq);
    }
    assert_eq!(newest, 5);
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

async fn a_slow_subscriber_lags_and_goes_on(pair: Pair) {
    let key = key();
    let mut slow = pair.subscribe(key).await;
    let mut witness = pair.subscribe_more(key);
    for n in 0..5_000 {
        pair.says.delta(key, delta(n, "x"));
        // Whoever reads along sees everything; the other one does not hold it up.
        assert!(matches!(heard(&mut witness).await, Some(Notice::Delta(delta)) if delta.n == n));
    }
    pair.says.hint(key, 9);
    let mut got = Vec::new();
    while got.last() != Some(&Notice::Hint { seq: 9 }) {
        got.push(heard(&mut slow).await.unwrap());
    }
    assert_eq!(got[0], Notice::Lagged);
    assert!(got.len() < 300, "bounded: {}", got.len());
}

async fn a_burst_is_bounded_for_its_reader(pair: Pair) {
    let key = key();
    let mut slow = pair.subscribe(key).await;
    let mut witness = pair.subscribe_more(key);
    for n in 0..20 {
        pair.says.delta(key, delta(n, &"x".repeat(100_000)));
        assert!(matches!(heard(&mut witness).await, Some(Notice::Delta(_))));
    }
    let mut bytes = 0;
    assert_eq!(heard(&mut slow).await, Some(Notice::Lagged));
    while let Ok(Some(Notice::Delta(delta))) = timeout(QUIET, slow.next()).await {
        bytes += delta.payload.len();
    }
    assert!(bytes <= 1024 * 1024, "{bytes}");
}

async fn order_is_kept(pair: Pair) {
    let key = key();
    let mut subscription = pair.subscribe(key).await;
    for round in 1..=100 {
        pair.says.delta(key, delta(round, "x"));
        pair.says.hint(key, round);
    }
    for round in 1..=100 {
        assert!(matches!(heard(&mut subscription).await, Some(Notice::Delta(delta)) if delta.n == round));
        assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: round }));
    }
}

async fn changes_are_heard_in_their_workspace(pair: Pair) {
    let (workspace, other) = (key().workspace, WorkspaceId::from_uuid(Uuid::now_v7()));
    let (mut here, mut there) = (pair.hears.changes(workspace), pair.hears.changes(other));
    if pair.server.is_some() {
        timeout(SOON, here.next()).await.unwrap();
        timeout(SOON, there.next()).await.unwrap();
    }
    pair.says.changed(workspace);
    timeout(SOON, here.next()).await.unwrap();
    assert!(timeout(QUIET, there.next()).await.is_err());
}

async fn nudges_are_heard_by_all_who_mind_it(pair: Pair) {
    let (about, other) = (executor(), executor());
    let mut minding = [pair.hears.nudges(about), pair.hears.nudges(about)];
    let mut deaf = pair.hears.nudges(other);
    if pair.server.is_some() {
        for one in minding.iter_mut().chain([&mut deaf]) {
            timeout(SOON, one.next()).await.unwrap();
        }
    }
    pair.says.nudge(about);
    for one in &mut minding {
        timeout(SOON, one.next()).await.unwrap();
    }
    assert!(timeout(QUIET, deaf.next()).await.is_err());
}

async fn wake_ups_are_heard_and_collapse(pair: Pair) {
    let mut alarm = pair.hears.wake_ups();
    if pair.server.is_some() {
        timeout(SOON, alarm.next()).await.unwrap();
    }
    assert!(timeout(QUIET, alarm.next()).await.is_err());
    for _ in 0..10_000 {
        pair.says.wake();
    }
    let mut times = 0;
    timeout(SOON, alarm.next()).await.unwrap();
    while timeout(QUIET, alarm.next()).await.is_ok() {
        times += 1;
    }
    assert!(times < 5_000, "{times}");
}

async fn questions_are_answered(pair: Pair) {
    let (one, two) = (executor(), executor());
    let _one = pair
        .answering(one, |body| Some([b"one ", &body[..]].concat().into()))
        .await;
    let _two = pair
        .answering(two, |body| Some([b"two ", &body[..]].concat().into()))
        .await;
    assert_eq!(pair.asked(one, "a").await, "one a");
    assert_eq!(pair.asked(two, "b").await, "two b");
}

async fn a_large_question_is_not_asked(pair: Pair) {
    let at = executor();
    let _answers = pair.answering(at, Some).await;
    pair.asked(at, "there?").await;
    let large = Bytes::from(vec![0; 300_000]);
    assert_eq!(pair.says.request(at, large).await, Err(Unanswered));
}

async fn without_an_answer_the_wait_ends(pair: Pair) {
    let at = executor();
    assert_eq!(
        pair.says.request(at, Bytes::new()).await,
        Err(Unanswered),
        "nobody is there"
    );
    let mut requests = pair.hears.requests(at);
    let asks = async {
        loop {
            // Until it has got through, nobody is there.
            if pair.says.request(at, Bytes::from_static(b"?")).await.is_ok() {
                panic!("nobody answers");
            }
        }
    };
    let taken = tokio::select! {
        () = asks => None,
        taken = requests.next() => taken,
    };
    drop(taken.expect("the question arrives"));
    let begun = std::time::Instant::now();
    let silent = async {
        let kept = requests.next().await;
        std::future::pending::<()>().await;
        drop(kept);
    };
    tokio::select! {
        answer = pair.says.request(at, Bytes::new()) => assert_eq!(answer, Err(Unanswered)),
        () = silent => {}
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

impl Pair {
    /// Another subscription to a session that is subscribed already.
    fn subscribe_more(&self, key: SessionKey) -> Box<dyn Subscription> {
        self.hears.subscribe(key)
    }
}
