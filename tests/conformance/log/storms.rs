//! Many at once: numbers stay dense, takeovers fence, and callers may vanish at any moment (I1, I3, I18).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use perennial_engine::ports::{AppendError, Ready, SessionKey};
use rand::Rng as _;

use crate::fixture::{Rig, TTL, client, holder};
use crate::on_every_store;

/// For something that happens soon.
const PATIENCE: Duration = Duration::from_secs(60);

on_every_store![
    contention_leaves_no_gap,
    one_fault_stays_alone,
    takeovers_order_epochs,
    vanishing_callers_tear_nothing,
    vanishing_readers_poison_nothing,
];

async fn dense(rig: &Rig, key: SessionKey) -> usize {
    let log = rig.log(key).await;
    for (index, record) in log.iter().enumerate() {
        assert_eq!(record.seq, index as u64 + 1);
    }
    assert_eq!(rig.row(key).await.head, log.len() as u64);
    log.len()
}

async fn contention_leaves_no_gap(rig: Rig) {
    const TASKS: usize = 16;
    const APPENDS: usize = 25;
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(rig.session().await);
    }
    let keys = Arc::new(keys);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (rig, keys) = (rig.clone(), Arc::clone(&keys));
            tokio::spawn(async move {
                let mut sent = 0;
                for n in 0..APPENDS {
                    let key = keys[(task + n) % keys.len()];
                    let events: Vec<_> = (0..1 + n % 3).map(|_| rig.message("x")).collect();
                    sent += events.len();
                    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
                    let done = rig.append(client(key, events, Ready::Now)).await.unwrap();
                    assert_eq!(done.last_seq - done.first_seq + 1, ids.len() as u64);
                    for (seq, id) in (done.first_seq..).zip(ids) {
                        assert_eq!(
                            rig.store.event(key, id).await.unwrap().unwrap().seq,
                            seq,
                            "acknowledged is stored"
                        );
                    }
                }
                sent
            })
        })
        .collect();
    let mut sent = 0;
    for task in tasks {
        sent += task.await.unwrap();
    }
    let mut stored = 0;
    for key in keys.iter() {
        stored += dense(&rig, *key).await;
    }
    assert_eq!(stored, sent);
}

/// Appends of many sessions that wait at the same moment may travel together; what is wrong with one is no other's business.
async fn one_fault_stays_alone(rig: Rig) {
    const SESSIONS: usize = 60;
    let mut all = Vec::new();
    for n in 0..SESSIONS {
        let (key, _, epoch) = rig.held().await;
        let good = holder(key, epoch, vec![rig.running(), rig.answer_text("fine")]);
        let (append, expected) = match n % 6 {
            0 => {
                let twice = rig.answer_text("twice");
                (holder(key, epoch, vec![twice.clone(), twice]), "twice")
            }
            1 => (holder(key, epoch + 1, vec![rig.running()]), "fenced"),
            2 => (holder(rig.key(), epoch, vec![rig.running()]), "unknown"),
            3 => {
                rig.append(good.clone()).await.unwrap();
                (good, "replayed")
            }
            4 => (rig.rest(key, epoch, 7), "moved"),
            _ => (good, "fine"),
        };
        all.push((key, append, expected));
    }
    let tasks: Vec<_> = all
        .into_iter()
        .map(|(key, append, expected)| {
            let rig = rig.clone();
            tokio::spawn(async move { (key, expected, rig.append(append).await) })
        })
        .collect();
    for task in tasks {
        let (key, expected, answer) = task.await.unwrap();
        let (got, length) = match &answer {
            Ok(done) if done.replayed => ("replayed", 3),
            Ok(_) => ("fine", 3),
            Err(AppendError::Store(_)) => ("twice", 1),
            Err(AppendError::Fenced { .. }) => ("fenced", 1),
            Err(AppendError::NotFound) => ("unknown", 1),
            Err(AppendError::Moved { .. }) => ("moved", 1),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, expected, "{answer:?}");
        assert_eq!(dense(&rig, key).await, length, "{expected}");
    }
}

async fn takeovers_order_epochs(rig: Rig) {
    let key = rig.session().await;
    rig.say(key, "go").await;
    let fenced = Arc::new(AtomicU64::new(0));
    let mut zombies = Vec::new();
    for _ in 0..30 {
        let owner = rig.owner().await;
        let begun = Instant::now();
        let epoch = loop {
            // A claim does not wait for a row that somebody is writing to, and zombies write to it all the time.
            match rig.claim(owner, 1).await.first() {
                Some(claimed) => break claimed.row.epoch,
                None => assert!(begun.elapsed() < PATIENCE, "the session must be claimable"),
            }
        };
        // Progress, so that deaths do not add up to a delay.
        let mut alive = rig.answer_text("alive");
        alive.actor = Some(format!("{epoch:06}"));
        rig.append(holder(key, epoch, vec![alive])).await.unwrap();
        // Each holder writes on, whatever happens to its lease, and names its epoch in the actor column.
        let (rig_, fenced) = (rig.clone(), Arc::clone(&fenced));
        zombies.push(tokio::spawn(async move {
            for _ in 0..20 {
                let mut event = rig_.answer_text("x");
                event.actor = Some(format!("{epoch:06}"));
                match rig_.append(holder(key, epoch, vec![event])).await {
                    Ok(_) => {}
                    Err(AppendError::Fenced { current }) => {
                        assert!(current >= epoch);
                        fenced.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
        }));
        tokio::task::yield_now().await;
        rig.clock.advance(TTL as i64);
    }
    for zombie in zombies {
        zombie.await.unwrap();
    }
    dense(&rig, key).await;
    let epochs: Vec<_> = rig
        .log(key)
        .await
        .into_iter()
        .filter(|r| r.kind == "agent.message")
        .map(|r| r.actor)
        .collect();
    assert!(epochs.is_sorted(), "an older epoch wrote after a newer one");
    assert!(
        fenced.load(Ordering::Relaxed) > 0,
        "nobody was ever fenced: the test shows nothing"
    );
}

async fn vanishing_callers_tear_nothing(rig: Rig) {
    const CALLS: usize = 1000;
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(rig.session().await);
    }
    let mut asked = Vec::new();
    let mut dropped = 0;
    for n in 0..CALLS {
        let key = keys[n % keys.len()];
        let append = client(key, vec![rig.message("a"), rig.message("b")], Ready::Now);
        asked.push(append.clone());
        let polls = rand::rng().random_range(0..4);
        dropped += usize::from(!poll_some(rig.append(append), polls).await);
    }
    for key in &keys {
        rig.say(*key, "still alive").await;
    }
    let mut stored = 0;
    for key in &keys {
        stored += dense(&rig, *key).await as u64 - 1;
    }
    // The same append again says of each what became of it: all of it or nothing.
    let mut found = 0;
    for append in asked {
        let events = append.events.len() as u64;
        let outcome = rig.append(append).await.unwrap();
        assert_eq!(outcome.last_seq - outcome.first_seq + 1, events);
        if outcome.replayed {
            found += events;
        }
    }
    assert_eq!(stored, found);
    assert!(
        dropped > 0 || found == CALLS as u64 * 2,
        "memory never waits; a database does"
    );
}

async fn vanishing_readers_poison_nothing(rig: Rig) {
    let key = rig.session().await;
    for n in 0..50 {
        rig.say(key, &format!("{n}")).await;
    }
    for _ in 0..300 {
        let from = perennial_engine::ports::ReadFrom { after: 0, limit: 50 };
        let polls = rand::rng().random_range(0..4);
        poll_some(rig.store.read(key, from), polls).await;
        poll_some(rig.store.get(key), polls).await;
    }
    assert_eq!(dense(&rig, key).await, 50);
    rig.say(key, "and on").await;
    assert_eq!(dense(&rig, key).await, 51);
}

/// Polls a future a few times, then drops it. True when it got done.
async fn poll_some<F: Future>(future: F, polls: usize) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await;
        if polled.is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}
