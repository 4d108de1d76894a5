//! The workspace feed: every session, then every change, in whatever order clients come and go (INVARIANTS I12).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use perennial_api::{Config, Ports};
use perennial_broker::bus::{local::Local, silent::Silent};
use perennial_engine::ports::{
    AppendError, Appended, Bus, ChangeCursor, Clock, ForkFrom, NewSession, SessionFilter, SessionKey, SessionRow,
    Sessions, StoreError,
};
use perennial_schema::event::{Body as EventBody, Idle};
use perennial_schema::session::StopReason;
use perennial_schema::{Timestamp, WorkspaceId};
use serde_json::{Value, json};

use crate::client::{Client, Frame};
use crate::rig::{Rig, id};

async fn feed(rig: &Rig) -> Client {
    Client::at(rig, "/v1/feed", &[]).await
}

async fn resumed(rig: &Rig, place: &str) -> Client {
    Client::at(rig, "/v1/feed", &[("last-event-id", place)]).await
}

fn kind(frame: &Frame) -> &str {
    frame.event.as_deref().unwrap()
}

/// Reads up to the mark between what was and what is new.
async fn until_live(client: &mut Client) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = client.event().await.expect("the stream goes on");
        if kind(&frame) == "live" {
            assert!(frame.id.is_none(), "the mark is no cursor");
            return frames;
        }
        frames.push(frame);
    }
}

fn session_of(frame: &Frame) -> String {
    assert_eq!(kind(frame), "session", "{frame:?}");
    id(frame.data.as_ref().unwrap())
}

fn field(frame: &Frame, path: &str) -> Value {
    frame.data.as_ref().unwrap().pointer(path).cloned().unwrap()
}

async fn title(rig: &Rig, session: &str, title: &str) {
    let path = format!("/v1/sessions/{session}");
    rig.post(&path, &json!({"title": title})).await.ok();
}

#[tokio::test]
async fn first_come_all_sessions_then_every_change() {
    let rig = Rig::new().await;
    let (first, second) = (rig.session().await, rig.session().await);
    title(&rig, &first, "changed last").await;
    let mut client = feed(&rig).await;
    let all = until_live(&mut client).await;
    let ids: Vec<_> = all.iter().map(session_of).collect();
    assert_eq!(ids, [second.clone(), first.clone()], "the newest change last");
    let served = rig.get(&format!("/v1/sessions/{first}?include=extensions")).await.ok();
    assert_eq!(all[1].data.as_ref(), Some(&served), "as served everywhere");

    rig.say(&second, "work").await;
    let running = client.event().await.unwrap();
    assert_eq!(session_of(&running), second);
    assert_eq!(field(&running, "/status"), "running");
    assert_eq!(field(&running, "/perennial/head"), 1);
    let claimed = rig.claim().await;
    let idle = EventBody::SessionStatusIdle(Idle {
        stop_reason: StopReason::EndTurn,
    });
    rig.hold(&claimed, vec![idle], true).await;
    loop {
        let frame = client.event().await.unwrap();
        assert_eq!(session_of(&frame), second);
        if field(&frame, "/status") == "idle" {
            assert_eq!(field(&frame, "/perennial/stop_reason/type"), "end_turn");
            break;
        }
    }
    rig.delete(&format!("/v1/sessions/{first}")).await.ok();
    let gone = client.event().await.unwrap();
    assert_eq!(kind(&gone), "session_deleted");
    assert_eq!(gone.data, Some(json!({"id": first, "type": "session_deleted"})));
}

#[tokio::test]
async fn cursors_resume_without_the_past() {
    let rig = Rig::new().await;
    let sessions = [rig.session().await, rig.session().await, rig.session().await];
    let mut client = feed(&rig).await;
    let all = until_live(&mut client).await;
    let places: Vec<_> = all.iter().map(|frame| frame.id.clone().unwrap()).collect();
    let mut client = resumed(&rig, &places[0]).await;
    let rest: Vec<_> = until_live(&mut client).await.iter().map(session_of).collect();
    assert_eq!(rest, sessions[1..]);
    let path = format!("/v1/feed?after={}", places[2]);
    let mut client = Client::at(&rig, &path, &[("last-event-id", &places[0])]).await;
    assert!(until_live(&mut client).await.is_empty(), "after= wins");
    title(&rig, &sessions[0], "news").await;
    assert_eq!(session_of(&client.event().await.unwrap()), sessions[0]);
    // The session at the first place has moved on: the place is of the past all the same.
    let mut client = resumed(&rig, &places[0]).await;
    assert_eq!(until_live(&mut client).await.len(), 3);
}

#[tokio::test]
async fn cursors_that_were_never_given_are_refused() {
    let rig = Rig::new().await;
    let empty = rig.get("/v1/feed?after=1-0").await;
    empty.refused(409, "invalid_request_error");
    rig.session().await;
    let ahead = rig.get("/v1/feed?after=999999-0").await;
    ahead.refused(409, "invalid_request_error");
    assert_eq!(ahead.header("x-should-retry"), Some("false"));
    for after in ["x", "1", "1-", "-1-1", "1-1-1", "99999999999999999999-0"] {
        rig.get(&format!("/v1/feed?after={after}"))
            .await
            .refused(400, "invalid_request_error");
    }
    let bad = rig.request("GET", "/v1/feed").header("last-event-id", "17");
    let bad = bad.body(Body::empty()).unwrap();
    rig.send(bad).await.refused(400, "invalid_request_error");
}

/// What a client knows in the end.
#[derive(Default)]
struct Known {
    titles: BTreeMap<String, Value>,
    place: Option<String>,
    frames: usize,
}

impl Known {
    fn learn(&mut self, frame: &Frame) {
        self.frames += 1;
        self.place = frame.id.clone().or_else(|| self.place.take());
        match kind(frame) {
            "session" => {
                self.titles.insert(session_of(frame), field(frame, "/title"));
            }
            "session_deleted" => {
                self.titles.remove(&id(frame.data.as_ref().unwrap()));
            }
            _ => {}
        }
    }

    async fn until(&mut self, client: &mut Client, expected: &BTreeMap<String, Value>) {
        while self.titles != *expected {
            let frame = client.event().await.expect("the stream goes on");
            self.learn(&frame);
        }
    }
}

/// Changes every session a few times and deletes each seventh; gives back what is true in the end.
async fn churn(rig: &Rig, sessions: &[String], rounds: usize) -> BTreeMap<String, Value> {
    let mut truth = BTreeMap::new();
    for round in 0..rounds {
        for session in sessions {
            title(rig, session, &format!("round {round}")).await;
            truth.insert(session.clone(), json!(format!("round {round}")));
        }
    }
    for session in sessions.iter().step_by(7) {
        rig.delete(&format!("/v1/sessions/{session}")).await.ok();
        truth.remove(session);
    }
    truth
}

async fn sessions(rig: &Rig, count: usize) -> Vec<String> {
    let (agent, environment) = (rig.agent().await, rig.environment(json!({"type": "local"})).await);
    let body = json!({"agent": agent, "environment_id": environment});
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(id(&rig.post("/v1/sessions", &body).await.ok()));
    }
    made
}

#[tokio::test]
async fn clients_that_come_and_go_and_sleep_know_the_truth_in_the_end() {
    for bus in [Arc::new(Local::new()) as Arc<dyn Bus>, Arc::new(Silent)] {
        let rig = Rig::with(bus, Rig::impatient(), |ports| ports).await;
        let all = sessions(&rig, 80).await;
        // Reads nothing until everything has fallen off the window.
        let mut asleep = feed(&rig).await;
        let mut awake = feed(&rig).await;
        let mut seen = Known::default();
        let writing = churn(&rig, &all, 6);
        let watching = async {
            // Comes back at every twentieth frame, from its last place.
            let mut wanderer = Known::default();
            for _ in 0..20 {
                let mut client = match &wanderer.place {
                    Some(place) => resumed(&rig, place).await,
                    None => feed(&rig).await,
                };
                for _ in 0..20 {
                    match tokio::time::timeout(Duration::from_millis(300), client.event()).await {
                        Ok(Some(frame)) => wanderer.learn(&frame),
                        _ => break,
                    }
                }
            }
            wanderer
        };
        let (truth, mut wanderer) = futures_util::future::join(writing, watching).await;
        seen.until(&mut awake, &truth).await;
        Known::default().until(&mut asleep, &truth).await;
        let mut client = resumed(&rig, &wanderer.place.clone().unwrap()).await;
        wanderer.until(&mut client, &truth).await;
        let mut late = feed(&rig).await;
        let mut known = Known::default();
        for frame in until_live(&mut late).await {
            known.learn(&frame);
        }
        assert_eq!(known.titles, truth);
        assert_eq!(known.frames, 80, "each session once: living ones and fresh tombstones");
    }
}

/// A clock two minutes ahead of the store's.
struct Later(Arc<dyn Clock>);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.now().micros() + 120_000_000)
    }
}

#[tokio::test]
async fn who_comes_anew_is_spared_old_tombstones() {
    let rig = Rig::with(Arc::new(Local::new()), Config::default(), |ports| Ports {
        clock: Arc::new(Later(ports.clock.clone())),
        ..ports
    })
    .await;
    let (first, second) = (rig.session().await, rig.session().await);
    let mut client = feed(&rig).await;
    let place = until_live(&mut client).await[0].id.clone().unwrap();
    rig.delete(&format!("/v1/sessions/{first}")).await.ok();
    let mut anew = feed(&rig).await;
    let told: Vec<_> = until_live(&mut anew).await.iter().map(session_of).collect();
    assert_eq!(told, [second]);
    let mut back = resumed(&rig, &place).await;
    let told = until_live(&mut back).await;
    let told: Vec<_> = told.iter().map(kind).collect();
    assert_eq!(told, ["session", "session_deleted"], "who knew it is told");
}

/// What the store says instead of an answer.
type Failing = Arc<Mutex<Option<fn() -> StoreError>>>;

/// Counts how often changes are asked for, and fails when told.
struct Counting {
    sessions: Arc<dyn Sessions>,
    reads: Arc<AtomicU64>,
    failing: Failing,
}

#[async_trait]
impl Sessions for Counting {
    async fn create(&self, new: NewSession, fork: Option<ForkFrom>) -> Result<Appended, AppendError> {
        self.sessions.create(new, fork).await
    }

    async fn get(&self, key: SessionKey) -> Result<Option<SessionRow>, StoreError> {
        self.sessions.get(key).await
    }

    async fn find(&self, workspace: WorkspaceId, filter: SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        self.sessions.find(workspace, filter).await
    }

    async fn changes(
        &self,
        workspace: WorkspaceId,
        after: Option<ChangeCursor>,
        limit: u32,
    ) -> Result<Vec<(ChangeCursor, SessionRow)>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let failing = *self.failing.lock().unwrap();
        if let Some(error) = failing {
            return Err(error());
        }
        self.sessions.changes(workspace, after, limit).await
    }
}

#[tokio::test]
async fn followers_share_one_reader_and_none_stays_behind() {
    let reads = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&reads);
    let rig = Rig::with(Arc::new(Local::new()), Config::default(), |ports| Ports {
        sessions: Arc::new(Counting {
            sessions: ports.sessions.clone(),
            reads: counter,
            failing: Arc::default(),
        }),
        ..ports
    })
    .await;
    let session = rig.session().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = feed(&rig).await;
        assert_eq!(until_live(&mut client).await.len(), 1);
        clients.push(client);
    }
    let before = reads.load(Ordering::Relaxed);
    for round in 0..20 {
        title(&rig, &session, &format!("{round}")).await;
        for client in &mut clients {
            assert_eq!(field(&client.event().await.unwrap(), "/title"), format!("{round}"));
        }
    }
    let asked = reads.load(Ordering::Relaxed) - before;
    assert!(
        (20..200).contains(&asked),
        "{asked} reads for 20 changes told to 100 clients"
    );
    drop(clients);
    tokio::time::timeout(Duration::from_secs(5), rig.api.drained())
        .await
        .expect("no task is left");
}

#[tokio::test]
async fn silent_feeds_are_kept_alive_and_empty_ones_begin() {
    let rig = Rig::with(Arc::new(Local::new()), Rig::impatient(), |ports| ports).await;
    let mut client = feed(&rig).await;
    assert!(until_live(&mut client).await.is_empty());
    for _ in 0..3 {
        let frame = client.frame().await.unwrap();
        assert!(frame.comment && frame.event.is_none() && frame.id.is_none());
    }
    let session = rig.session().await;
    assert_eq!(session_of(&client.event().await.unwrap()), session);
}

#[tokio::test]
async fn a_feed_waits_for_a_store_that_is_away_and_ends_at_a_row_that_does_not_parse() {
    let failing = Failing::default();
    let switch = Arc::clone(&failing);
    let rig = Rig::with(Arc::new(Local::new()), Rig::impatient(), |ports| Ports {
        sessions: Arc::new(Counting {
            sessions: ports.sessions.clone(),
            reads: Arc::default(),
            failing: switch,
        }),
        ..ports
    })
    .await;
    let session = rig.session().await;
    let mut early = feed(&rig).await;
    assert_eq!(until_live(&mut early).await.len(), 1);
    *failing.lock().unwrap() = Some(|| StoreError::Unavailable {
        store: "sessions",
        message: "away".into(),
    });
    let mut late = feed(&rig).await;
    title(&rig, &session, "while it was away").await;
    for client in [&mut early, &mut late] {
        assert!(client.frame().await.unwrap().comment, "kept alive");
    }
    *failing.lock().unwrap() = None;
    assert_eq!(field(&early.event().await.unwrap(), "/title"), "while it was away");
    assert_eq!(until_live(&mut late).await.len(), 1);
    *failing.lock().unwrap() = Some(|| StoreError::Inconsistent {
        table: "sessions",
        key: "sesn_x".into(),
        message: "garbage".into(),
    });
    title(&rig, &session, "unreadable").await;
    for client in [&mut early, &mut late] {
        let end = client.event().await.unwrap();
        assert_eq!((kind(&end), end.id.is_none()), ("error", true));
        assert_eq!(client.event().await, None);
    }
}
