//! The memory log, SQLite and Postgres answer every sequence of requests alike: a state machine makes them up, one action at
//! a time, from what the memory log answered so far.

mod requests;
mod step;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use perennial_engine::ports::{Append, AppendError, Authority, ForkFrom, Projection, Reach, SessionKey};
use perennial_schema::session::StopReason;
use perennial_schema::{EventId, OwnerId};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use uuid::Uuid;

use self::step::{Step, step};
use crate::fixture::{Rig, Store, TTL, new_session, workspace};

/// The same answer in every store: what differs between stores is not compared.
fn said<T: std::fmt::Debug>(answer: Result<T, AppendError>) -> String {
    match answer {
        Err(AppendError::Store(_)) => String::from("the store refuses"),
        other => format!("{other:?}"),
    }
}

/// Stores side by side; the first is the measure.
struct Bench {
    rigs: Vec<(&'static str, Rig)>,
    sessions: Vec<SessionKey>,
    owners: Vec<OwnerId>,
    tools: Vec<(SessionKey, EventId)>,
    sent: Vec<Append>,
    seen: Arc<Seen>,
}

/// Which answers there were, so that agreement is not about nothing.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<&'static str, u64>>);

impl Seen {
    const ALL: [&'static str; 8] = [
        "Ok(Appended",
        "replayed: true",
        "Fenced",
        "Moved",
        "Running",
        "AlreadyAnswered",
        "KeyReused",
        "Claimed",
    ];

    fn note(&self, answer: &str) {
        let mut seen = self.0.lock().unwrap();
        for word in Self::ALL.into_iter().filter(|word| answer.contains(word)) {
            *seen.entry(word).or_default() += 1;
        }
    }
}

impl Bench {
    fn measure(&self) -> &Rig {
        &self.rigs[0].1
    }

    fn session(&self, n: usize) -> Option<SessionKey> {
        (!self.sessions.is_empty()).then(|| self.sessions[n % self.sessions.len()])
    }

    fn owner(&self, n: usize) -> OwnerId {
        self.owners[n % self.owners.len()]
    }

    /// Asks all of them and compares.
    async fn ask<F>(&self, what: &str, ask: impl Fn(Arc<dyn Store>) -> F) -> Result<String, TestCaseError>
    where
        F: Future<Output = String>,
    {
        let mut first: Option<String> = None;
        for (name, rig) in &self.rigs {
            let answer = ask(Arc::clone(&rig.store)).await;
            match &first {
                None => first = Some(answer),
                Some(expected) => prop_assert_eq!(&answer, expected, "{} on {}", what, name),
            }
        }
        let first = first.unwrap_or_default();
        self.seen.note(&first);
        Ok(first)
    }

    async fn append(&mut self, append: Append) -> Result<(), TestCaseError> {
        let key = append.key;
        let asked = append.clone();
        self.ask("append", move |store| {
            let append = asked.clone();
            async move { said(store.append(append).await) }
        })
        .await?;
        self.sent.push(append);
        self.same_row(key).await
    }

    async fn same_row(&self, key: SessionKey) -> Result<(), TestCaseError> {
        self.ask("get", move |store| async move { format!("{:?}", store.get(key).await) })
            .await?;
        Ok(())
    }

    async fn same_logs(&self) -> Result<(), TestCaseError> {
        for key in self.sessions.clone() {
            for (_, rig) in &self.rigs[1..] {
                prop_assert_eq!(rig.log(key).await, self.measure().log(key).await);
                let all = |rig: &Rig| {
                    let rig = rig.clone();
                    async move {
                        let filter = perennial_engine::ports::EventFilter {
                            include_extensions: true,
                            limit: 1000,
                            ..Default::default()
                        };
                        rig.list(key, filter).await
                    }
                };
                prop_assert_eq!(all(rig).await, all(self.measure()).await);
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Create => self.create(None).await,
            Step::Fork { of, at } => match self.session(of) {
                Some(source) => {
                    let fork = ForkFrom {
                        session: source.session,
                        at_seq: at as u64,
                    };
                    self.create(Some(fork)).await
                }
                None => Ok(()),
            },
            Step::Register { who } => {
                let owner = self.owner(who);
                self.ask("register", move |store| async move {
                    format!("{:?}", store.register(owner, TTL, &Reach::default()).await)
                })
                .await?;
                Ok(())
            }
            Step::Claim { who, limit } => self.claim(self.owner(who), limit).await,
            Step::Unregister { who } => {
                let owner = self.owner(who);
                self.ask("unregister", move |store| async move {
                    format!("{:?}", store.unregister(owner).await)
                })
                .await?;
                Ok(())
            }
            Step::Renew { who } => {
                let owner = self.owner(who);
                self.ask("renew", move |store| async move {
                    let mut held = match store.renew(owner, TTL).await {
                        Ok(held) => held,
                        Err(error) => return format!("{error}"),
                    };
                    held.sort_by_key(|held| held.key);
                    format!("{held:?}")
                })
                .await?;
                Ok(())
            }
            Step::Wait { millis } => {
                for (_, rig) in &self.rigs {
                    rig.clock.advance(i64::from(millis));
                }
                self.ask("ready", |store| async move { format!("{:?}", store.ready().await) })
                    .await?;
                Ok(())
            }
            other => self.on_session(other).await,
        }
    }

    async fn on_session(&mut self, step: Step) -> Result<(), TestCaseError> {
        let to = match &step {
            Step::Say { to, .. }
            | Step::Answer { to, .. }
            | Step::Write { to, .. }
            | Step::Rest { to, .. }
            | Step::Patch { to, .. }
            | Step::Release { to, .. } => *to,
            Step::Repeat { which } => *which,
            _ => return Ok(()),
        };
        let Some(key) = self.session(to) else { return Ok(()) };
        let row = self.measure().row(key).await;
        match step {
            Step::Say { ready, key: asked, .. } => self.append(self.say(key, ready, asked)).await,
            Step::Answer { tool, way, .. } => self.append(self.answer(key, tool, way)).await,
            Step::Write { what, stale, .. } => {
                // Mostly somebody who may: a strange session says little more than that it is strange.
                if !row.held && what > 0 {
                    let say = self.say(key, 1, None);
                    self.append(say).await?;
                    self.claim(self.owner(to), 4).await?;
                }
                let epoch = self.measure().row(key).await.epoch;
                let append = self.write(key, epoch.saturating_sub(u64::from(stale)), what);
                self.append(append).await
            }
            Step::Rest { behind, asks, .. } => {
                let head = row.head.saturating_sub(u64::from(behind));
                let mut append = self.measure().rest(key, row.epoch, head);
                if asks {
                    let event_ids = self.tools.iter().map(|(_, tool)| *tool).collect();
                    append.events = vec![self.measure().idle(StopReason::RequiresAction { event_ids })];
                    append.projection = Projection::of(&append.events);
                }
                self.append(append).await
            }
            Step::Repeat { which } if !self.sent.is_empty() => {
                let append = self.sent[which % self.sent.len()].clone();
                let is_held = |append: &Append| matches!(append.authority, Authority::Holder { .. });
                let latest = self
                    .sent
                    .iter()
                    .rev()
                    .find(|sent| sent.key == append.key && is_held(sent));
                // A holder repeats none but its latest.
                if is_held(&append) && latest.is_some_and(|latest| latest.append_id != append.append_id) {
                    return Ok(());
                }
                self.append(append).await
            }
            Step::Patch { what, .. } => {
                let append = self.patch(key, what);
                self.append(append).await
            }
            Step::Release { ready, behind, .. } => {
                let (ready, head) = (self.ready(ready), row.head.saturating_sub(u64::from(behind)));
                self.ask("release", move |store| async move {
                    format!("{:?}", store.release(key, row.epoch, ready, head).await)
                })
                .await?;
                self.same_row(key).await
            }
            _ => Ok(()),
        }
    }

    async fn create(&mut self, fork: Option<ForkFrom>) -> Result<(), TestCaseError> {
        let key = self.measure().key();
        let answer = self
            .ask("create", move |store| async move {
                said(store.create(new_session(key), fork).await)
            })
            .await?;
        if answer.starts_with("Ok") {
            self.sessions.push(key);
            self.same_row(key).await?;
        }
        Ok(())
    }

    async fn claim(&mut self, owner: OwnerId, limit: u32) -> Result<(), TestCaseError> {
        self.ask("claim", move |store| async move {
            format!("{:?}", store.claim(owner, limit, &[]).await)
        })
        .await?;
        for key in self.sessions.clone() {
            self.same_row(key).await?;
        }
        Ok(())
    }

    /// Leaves nothing to claim, for the next case on the same database.
    async fn clean(&self) {
        for (_, rig) in &self.rigs {
            for owner in &self.owners {
                let _ = rig.store.unregister(*owner).await;
            }
            for key in &self.sessions {
                let _ = rig.store.append(self.patch(*key, 1)).await;
            }
        }
    }
}

async fn agree(shared: Vec<(&'static str, Rig)>, seen: Arc<Seen>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let tenant = workspace();
    let began = shared.iter().map(|(_, rig)| rig.now()).max().unwrap();
    let mut bench = Bench {
        rigs: shared,
        sessions: Vec::new(),
        owners: (0..3).map(|_| OwnerId::from_uuid(Uuid::now_v7())).collect(),
        tools: Vec::new(),
        sent: Vec::new(),
        seen,
    };
    for (_, rig) in &mut bench.rigs {
        rig.workspace = tenant;
        let behind = began.micros() - rig.now().micros();
        rig.clock.advance(behind / 1000);
    }
    for owner in bench.owners.clone() {
        for (_, rig) in &bench.rigs {
            rig.store.register(owner, TTL, &Reach::default()).await.unwrap();
        }
    }
    let mut done = Ok(());
    for step in steps {
        done = bench.step(step).await;
        if done.is_err() {
            break;
        }
    }
    if done.is_ok() {
        done = bench.same_logs().await;
    }
    bench.clean().await;
    done
}

#[test]
fn all_stores_answer_alike() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let shared = runtime.block_on(async {
        let mut shared = vec![("memory", Rig::memory()), ("sqlite", Rig::sqlite().await)];
        if let Some(rig) = Rig::postgres().await {
            shared.push(("postgres", rig));
        }
        shared
    });
    let config = Config {
        cases: std::env::var("PERENNIAL_CASES").map_or(48, |cases| cases.parse().unwrap()),
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    };
    let seen = Arc::new(Seen::default());
    let mut runner = TestRunner::new(config);
    let steps = proptest::collection::vec(step(), 1..120);
    let ran = runner.run(&steps, |steps| {
        runtime.block_on(agree(shared.clone(), Arc::clone(&seen), steps))
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    let seen = seen.0.lock().unwrap();
    println!("{seen:?}");
    assert_eq!(seen.len(), Seen::ALL.len(), "some answers were never given: {seen:?}");
}
