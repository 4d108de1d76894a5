//! A client of one session: says things, follows the stream over every cut, and remembers what it was told.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, id, message};
use super::script;
use crate::oracle::{Evidence, Post, View};

/// Pause before a request or a stream that failed is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for an answer to one request; then it is sent again, under the same key.
const ANSWER: Duration = Duration::from_secs(5);
/// A request nobody takes for so long is given up; nothing is claimed of it.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Ways to the same sessions: nodes, directly or through a proxy.
#[derive(Clone, Debug)]
pub struct Doors {
    /// For requests.
    pub requests: Vec<Client>,
    /// For streams.
    pub streams: Vec<Client>,
}

/// What happened to the connections of visitors.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Streams that were taken up again behind the last number seen.
    pub resumed: u64,
    /// Requests that were sent again under their key.
    pub repeated: u64,
    /// Pairs of the same request, sent at once to two nodes.
    pub pairs: u64,
    /// Times the session was set aside and asked for again.
    pub set_aside: u64,
}

/// What is known of the session so far.
#[derive(Debug, Default)]
struct Seen {
    posts: Vec<Post>,
    view: View,
    told: Told,
}

/// A session and its client.
pub struct Visitor {
    /// The session.
    pub session: String,
    doors: Doors,
    seed: u64,
    seen: Arc<Mutex<Seen>>,
    /// The last number seen, for who waits.
    head: watch::Sender<u64>,
}

impl Visitor {
    /// Opens a session.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn arrive(doors: Doors, agent: &str, environment: &str, seed: u64) -> Result<Self> {
        let door = doors.requests.first().context("no node")?;
        let session = door.session(agent, environment).await?;
        Ok(Self {
            session,
            doors,
            seed,
            seen: Arc::default(),
            head: watch::Sender::new(0),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event before anything is said.
    pub async fn open(&self, event: &Value) {
        self.post(0, "opening", &json!({"events": [event]})).await;
    }

    /// Talks, one turn after the other, until told to stop; a request that was begun is finished.
    pub async fn talk(&self, closing: CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed);
        for turn in 0u32.. {
            if closing.is_cancelled() {
                return;
            }
            let name = format!("t{turn}");
            let said = script::turn(&mut rng, &name);
            self.say(&mut rng, &name, &said).await;
            // Some people go on talking: in mid-turn, or just when the session goes to rest.
            if rng.random_bool(0.4) {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
                let name = format!("{name}b");
                let said = script::turn(&mut rng, &name);
                self.say(&mut rng, &name, &said).await;
            }
            tokio::select! {
                () = self.rested() => {}
                () = closing.cancelled() => return,
            }
        }
    }

    /// Sends a message until it is acknowledged, always under the same key; sometimes twice at once, to two nodes.
    async fn say(&self, rng: &mut StdRng, key: &str, text: &str) {
        if rng.random_bool(0.2) {
            self.seen().told.pairs += 1;
            let other = rng.random_range(0..self.doors.requests.len());
            let body = message(text);
            tokio::join!(self.post(other, key, &body), self.post(other + 1, key, &body));
        } else {
            self.post(rng.random_range(0..self.doors.requests.len()), key, &message(text))
                .await;
        }
    }

    async fn post(&self, first: usize, key: &str, body: &Value) {
        let path = format!("/v1/sessions/{}/events", self.session);
        // Keys are the workspace's, so they name the session too.
        let key = format!("{}-{key}", self.session);
        let begun = Instant::now();
        for attempt in first.. {
            if begun.elapsed() > GIVE_UP {
                return;
            }
            if attempt > first {
                self.seen().told.repeated += 1;
                tokio::time::sleep(PAUSE).await;
            }
            let door = &self.doors.requests[attempt % self.doors.requests.len()];
            let answer = tokio::time::timeout(ANSWER, door.post_once(&path, &key, body)).await;
            let Ok(Ok(answer)) = answer else { continue };
            if let Ok(ids) = answer.ok().and_then(|body| id(&body["data"][0])) {
                self.seen().posts.push(Post { key, ids: vec![ids] });
                return;
            }
        }
    }

    /// Waits until everything said was looked at and the session rests, as far as the stream shows.
    async fn rested(&self) {
        let mut head = self.head.subscribe();
        while !self.is_resting() {
            self.retry_if_set_aside().await;
            tokio::time::timeout(ANSWER, head.changed()).await.ok();
        }
    }

    /// A session that lost its worker too often in a row is set aside (I15), by bad luck here: somebody has to ask for it.
    async fn retry_if_set_aside(&self) {
        let set_aside = {
            let seen = self.seen();
            let last = seen.view.seen.iter().rev().find(|(_, event)| {
                matches!(
                    event["type"].as_str(),
                    Some("session.status_idle" | "session.status_running")
                )
            });
            last.is_some_and(|(_, event)| event["stop_reason"]["type"] == "retries_exhausted")
        };
        if set_aside && let Some(door) = self.doors.requests.first() {
            let path = format!("/v1/sessions/{}/retry", self.session);
            let answer = tokio::time::timeout(ANSWER, door.post(&path, &serde_json::json!({}))).await;
            if matches!(answer, Ok(Ok(answer)) if answer.status < 300) {
                self.seen().told.set_aside += 1;
            }
        }
    }

    fn is_resting(&self) -> bool {
        let seen = self.seen();
        let idle = seen
            .view
            .seen
            .iter()
            .rposition(|(_, event)| event["type"] == "session.status_idle");
        let Some(idle) = idle else { return false };
        let before = &seen.view.seen[..idle];
        let looked_at = |id: &String| {
            before
                .iter()
                .rev()
                .filter(|(_, event)| event["type"] == "input.processed")
                .any(|(_, event)| {
                    event["event_ids"]
                        .as_array()
                        .is_some_and(|ids| ids.iter().any(|one| one == id))
                })
        };
        let newest = seen.posts.iter().rev().take(2).flat_map(|post| &post.ids);
        newest.into_iter().all(looked_at)
    }

    /// Follows the stream, from node to node, behind the last number seen.
    pub async fn follow(&self, leaving: CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(1));
        let mut connected = false;
        loop {
            let last = *self.head.borrow();
            let door = &self.doors.streams[rng.random_range(0..self.doors.streams.len())];
            tokio::select! {
                () = leaving.cancelled() => return,
                opened = self.listen(door, last) => if opened.unwrap_or(false) {
                    if connected {
                        self.seen().told.resumed += 1;
                    }
                    connected = true;
                },
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One connection; whether it came about.
    async fn listen(&self, door: &Client, last: u64) -> Result<bool> {
        let opening = door.stream(&self.session, "?include=extensions", Some(last));
        let mut stream = tokio::time::timeout(ANSWER, opening).await??;
        while let Ok(Some(frame)) = stream.next().await {
            if let Some(seq) = frame.seq {
                self.seen().view.seen.push((seq, frame.data));
                self.head.send_replace(seq);
            }
        }
        Ok(true)
    }

    /// Waits until the stream has shown everything up to `head`.
    pub async fn has_seen(&self, head: u64, deadline: Instant) {
        let mut seen = self.head.subscribe();
        let caught_up = seen.wait_for(|seen| *seen >= head);
        tokio::time::timeout_at(deadline.into(), caught_up).await.ok();
    }

    /// What is known of the session now that it was given time; `folder` is where its tools worked.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn evidence(&self, data_dir: &Path) -> Result<(Evidence, Told)> {
        let door = self.doors.requests.first().context("no node")?;
        let log = door.log(&self.session).await?;
        let seen = self.seen();
        let workspace = data_dir.join("workspaces").join(&self.session);
        let journal = data_dir.join(format!("executor/journal/{}.jsonl", self.session));
        let evidence = Evidence {
            log,
            posts: seen.posts.clone(),
            views: vec![View {
                complete: true,
                ..seen.view.clone()
            }],
            effects: lines(&workspace.join("ledger")),
            journal: lines(&journal)
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .collect(),
            at_rest: true,
            ..Evidence::default()
        };
        Ok((evidence, seen.told.clone()))
    }

    /// Whether the server says that the session rests, and has nothing that the stream has not shown.
    async fn is_at_rest(&self, door: &Client) -> Result<bool> {
        let row = door.get(&format!("/v1/sessions/{}", self.session)).await?.ok()?;
        Ok(row["status"] == "idle" && self.is_resting())
    }

    /// Waits for rest after all faults are healed; whether it came.
    pub async fn comes_to_rest(&self, deadline: Instant) -> bool {
        let Some(door) = self.doors.requests.first() else {
            return false;
        };
        loop {
            if let Ok(true) = self.is_at_rest(door).await {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            self.retry_if_set_aside().await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Visitors at work.
pub struct Crowd {
    /// Who.
    pub visitors: Vec<Arc<Visitor>>,
    talking: JoinSet<()>,
    following: JoinSet<()>,
    closing: CancellationToken,
    leaving: CancellationToken,
}

impl Crowd {
    /// Sets visitors to work.
    #[must_use]
    pub fn of(visitors: Vec<Visitor>) -> Self {
        let visitors: Vec<Arc<Visitor>> = visitors.into_iter().map(Arc::new).collect();
        let (closing, leaving) = (CancellationToken::new(), CancellationToken::new());
        let (mut talking, mut following) = (JoinSet::new(), JoinSet::new());
        for visitor in &visitors {
            let (speaker, stop) = (visitor.clone(), closing.clone());
            talking.spawn(async move { speaker.talk(stop).await });
            let (reader, stop) = (visitor.clone(), leaving.clone());
            following.spawn(async move { reader.follow(stop).await });
        }
        Self {
            visitors,
            talking,
            following,
            closing,
            leaving,
        }
    }

    /// Lets everybody finish what they began; then gives each session time to rest and each stream time to show it. Returns the
    /// sessions that did not come to rest.
    pub async fn finish(&mut self, patience: Duration) -> Vec<String> {
        self.closing.cancel();
        while self.talking.join_next().await.is_some() {}
        let deadline = Instant::now() + patience;
        let mut restless = Vec::new();
        for visitor in &self.visitors {
            if !visitor.comes_to_rest(deadline).await {
                restless.push(visitor.session.clone());
            }
            if let Some(door) = visitor.doors.requests.first()
                && let Ok(log) = door.log(&visitor.session).await
            {
                let head = log.last().and_then(|event| event["seq"].as_u64()).unwrap_or(0);
                visitor.has_seen(head, deadline).await;
            }
        }
        self.leaving.cancel();
        while self.following.join_next().await.is_some() {}
        restless
    }
}
