//! One process for many sessions: each has its own conversation, its own key, its own death.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perennial_engine::ports::{ModelError, SessionKey};
use perennial_schema::agent::AgentSnapshot;
use perennial_worker::harness::{Access, Gate, Wire};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::bench::{Bench, eventually, results, said, spoke};
use crate::upstream::{Reply, call, text, user};

/// A key for each, void afterwards.
#[derive(Default)]
struct Keys {
    base_url: String,
    open: Mutex<HashSet<String>>,
    given: Mutex<Vec<String>>,
}

#[async_trait]
impl Gate for Keys {
    async fn admit(&self, session: SessionKey, _: &AgentSnapshot, wire: Wire) -> Result<Access, ModelError> {
        assert_eq!(wire, Wire::Responses);
        let key = format!("vk_{}", session.session.uuid());
        self.open.lock().unwrap().insert(key.clone());
        self.given.lock().unwrap().push(key.clone());
        Ok(Access {
            base_url: self.base_url.clone(),
            key: key.into(),
            model: "gpt-6-sol".into(),
        })
    }

    async fn withdraw(&self, access: Access) {
        self.open.lock().unwrap().remove(access.key.expose_secret());
    }
}

#[tokio::test]
async fn sessions_share_a_process_and_nothing_else() {
    const SESSIONS: usize = 12;
    let Some(mut bench) = Bench::open(Vec::new()).await else {
        return;
    };
    let keys = Arc::new(Keys {
        base_url: bench.upstream.url.clone(),
        ..Keys::default()
    });
    bench.change(|settings| settings.gate = keys.clone());
    for _ in 0..SESSIONS {
        bench
            .upstream
            .push(Reply::Says(vec![call("call_a", "bash", &json!({"command": "x"}))]));
    }
    let mut sessions: Vec<Bench> = (0..SESSIONS).map(|_| bench.another_session()).collect();
    let steps = sessions.iter_mut().enumerate().map(|(n, session)| async move {
        let prompt = said(&format!("I am {n}"));
        let step = session.think(vec![prompt.clone()]).await.unwrap();
        (session.harness.process_id().await, prompt, step)
    });
    let first = futures_util::future::join_all(steps).await;
    let processes: HashSet<_> = first.iter().map(|(process, ..)| *process).collect();
    assert_eq!(processes.len(), 1, "one process");
    assert_eq!(keys.open.lock().unwrap().len(), SESSIONS, "a key for each");

    for _ in 0..SESSIONS {
        bench.upstream.push(Reply::Says(vec![text("done")]));
    }
    let steps = sessions
        .iter_mut()
        .zip(&first)
        .enumerate()
        .map(|(n, (session, (_, prompt, step)))| async move {
            let heard = results(step, &[&format!("result of {n}")]);
            session.think(vec![prompt.clone(), spoke(step), heard]).await.unwrap();
        });
    futures_util::future::join_all(steps).await;
    let received = bench.upstream.received();
    assert_eq!(received.len(), 2 * SESSIONS);
    for (n, session) in sessions.iter().enumerate() {
        let key = format!("Bearer vk_{}", session.key.session.uuid());
        let own: Vec<_> = received
            .iter()
            .filter(|request| request.headers["authorization"] == key.as_str())
            .collect();
        assert_eq!(own.len(), 2, "each under its own key");
        for request in &own {
            assert_eq!(request.body["prompt_cache_key"], session.key.session.uuid().to_string());
            assert_eq!(
                request.body["input"][1]["content"],
                user(&format!("I am {n}"))["content"]
            );
        }
        let last = own[1].body["input"].as_array().unwrap().last().unwrap();
        assert_eq!(last["output"], format!("result of {n}"));
    }
    eventually(|| keys.open.lock().unwrap().is_empty()).await;
    assert_eq!(keys.given.lock().unwrap().len(), SESSIONS);
}

#[tokio::test]
async fn when_the_process_dies_all_its_sessions_try_again() {
    let Some(bench) = Bench::open(vec![Reply::Hangs, Reply::Stalls]).await else {
        return;
    };
    let (mut one, mut two) = (bench.another_session(), bench.another_session());
    let upstream = bench.upstream.clone();
    let killer = async {
        upstream.asked(2).await;
        let process = bench.harness.process_id().await.unwrap();
        crate::kills::kill_family(process);
        process
    };
    let (first, second, process) = tokio::join!(one.think(vec![said("one")]), two.think(vec![said("two")]), killer);
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(error.retryable && error.message.contains("Codex ended"), "{error}");
    }
    upstream.hung_up().await;
    bench.upstream.push(Reply::Says(vec![text("again")]));
    one.think(vec![said("one")]).await.unwrap();
    assert_ne!(one.harness.process_id().await, Some(process));
}
