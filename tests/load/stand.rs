//! The engine in this process: a real worker and real ports over a store, with a router whose one tool answers at once. What
//! is measured is what the turn loop writes, not what tools or models cost.

mod ports;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use perennial_broker::bus::local::Local;
use perennial_broker::{Hinted, blobs, clock, log, pool};
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, EventFilter, Ids, Leases, Log, Model, ModelError, NewSession, NoSeals,
    Projection, ReadFrom, Ready, SessionKey, Sessions, StoreError,
};
use perennial_schema::agent::{AgentSnapshot, Harness, ModelConfig};
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::{Body, Draft, Record};
use perennial_schema::{AgentId, AppendId, EnvironmentId, EventId, SessionId, Timestamp, WorkspaceId};
use perennial_worker::harness::{self, Harnesses, Native};
use perennial_worker::{Ports, Settings, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::sample::STEPS;

/// Longest wait for a session to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything a store implements.
pub(crate) trait Store: Log + Sessions + Leases + Clone + 'static {}
impl<S: Log + Sessions + Leases + Clone + 'static> Store for S {}

/// A worker at work.
pub(crate) struct Stand {
    log: Arc<Observed>,
    sessions: Arc<dyn Sessions>,
    workspace: WorkspaceId,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

/// The native loop, and no other harness.
struct OnlyNative(Arc<dyn Model>);

impl Harnesses for OnlyNative {
    fn open(&self, _: &Harness) -> Result<Box<dyn harness::Harness>, ModelError> {
        Ok(Box::new(Native::new(self.0.clone())))
    }
}

pub(crate) struct FreshIds;

impl Ids for FreshIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Stand {
    /// A worker with so many slots over a store.
    pub(crate) fn start<S: Store>(store: S, slots: usize) -> Result<Self> {
        let bus = Arc::new(Local::new());
        let store = Arc::new(Hinted::new(store, bus.clone()));
        let log = Arc::new(Observed::new(store.clone()));
        let clock = Arc::new(clock::System);
        let harnesses: Arc<dyn Harnesses> = Arc::new(OnlyNative(Arc::new(ports::Padded::default())));
        let ports = Ports {
            log: log.clone(),
            leases: store.clone(),
            // Beside an empty store: nobody steers here.
            pool: Arc::new(pool::Memory::new(
                log::memory::Memory::new(clock.clone()),
                clock.clone(),
            )),
            bus,
            router: Arc::new(ports::AtOnce::new()),
            blobs: Arc::new(blobs::memory::Memory::default()),
            seals: Arc::new(NoSeals),
            clock,
            ids: Arc::new(FreshIds),
            harnesses,
        };
        let settings = Settings {
            slots: u32::try_from(slots)?,
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let worker = tokio::spawn(Worker::new(ports, settings).run(stop.clone()));
        Ok(Self {
            log,
            sessions: store,
            workspace: WorkspaceId::from_uuid(Uuid::now_v7()),
            stop,
            worker,
        })
    }

    /// Sessions at rest.
    pub(crate) async fn sessions(&self, count: usize) -> Result<Vec<SessionKey>> {
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let key = SessionKey {
                workspace: self.workspace,
                session: SessionId::from_uuid(Uuid::now_v7()),
            };
            self.sessions.create(new_session(key), None).await?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Plays a turn of [`STEPS`] steps; says how long each of them took, in milliseconds. The first one carries the claim.
    pub(crate) fn turner(&self) -> impl Fn(SessionKey) -> Turn + Send + Sync + 'static {
        let log = self.log.clone();
        move |key| Box::pin(turn(log.clone(), key)) as Turn
    }

    /// Lets the worker go.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.worker.await.context("the worker ended abnormally")
    }
}

/// A turn under way.
pub(crate) type Turn = std::pin::Pin<Box<dyn Future<Output = Result<Vec<f64>>> + Send>>;

async fn turn(log: Arc<Observed>, key: SessionKey) -> Result<Vec<f64>> {
    let rested = log.watch(key);
    let started = Instant::now();
    log.append(say(key, &"/tool noop {}\n/then\n".repeat(STEPS))?).await?;
    tokio::time::timeout(PATIENCE, rested)
        .await
        .context("a turn takes too long")??;
    let ends = log.finished(key);
    if ends.len() != STEPS {
        bail!("a turn had {} steps instead of {STEPS}", ends.len());
    }
    let starts = std::iter::once(started).chain(ends.iter().copied());
    Ok(starts
        .zip(&ends)
        .map(|(start, end)| (*end - start).as_secs_f64() * 1000.0)
        .collect())
}

/// A user's message that makes its session ready.
pub(crate) fn say(key: SessionKey, text: &str) -> Result<Append> {
    let json = serde_json::json!({ "type": "user.message", "content": [{ "type": "text", "text": text }] });
    let id = EventId::from_uuid(Uuid::now_v7());
    let now = Timestamp::from_micros(0);
    let events = vec![Draft::input(id, "user.message", &json.to_string(), now, None)?];
    Ok(Append {
        key,
        append_id: AppendId::from_uuid(Uuid::now_v7()),
        projection: Projection {
            ready: Ready::Now,
            ..Projection::of(&events)
        },
        events,
        authority: Authority::Client {
            guards: Vec::new(),
            idempotency: None,
        },
    })
}

/// A session of the bench's agent.
pub(crate) fn new_session(key: SessionKey) -> NewSession {
    let agent = AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(1)),
        kind: "agent".into(),
        version: 1,
        name: "bench".into(),
        model: ModelConfig {
            id: "rehearsal-1".into(),
            speed: None,
            effort: None,
            inference_geo: None,
        },
        system: None,
        description: None,
        tools: Vec::new(),
        mcp_servers: Vec::new(),
        skills: Vec::new(),
        multiagent: None,
        execution_identity: None,
        harness: Harness::Native,
        mail: None,
        executors: Vec::new(),
    };
    NewSession {
        key,
        agent,
        environment_id: EnvironmentId::from_uuid(Uuid::from_u128(2)),
        environment: EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        },
        title: None,
        metadata: serde_json::Map::new(),
        resources: Vec::new(),
        vault_ids: Vec::new(),
        budget: None,
        place: None,
        events: Vec::new(),
        projection: Projection::default(),
        idempotency: None,
    }
}

/// The log with a note of when steps end and sessions rest.
struct Observed {
    log: Arc<dyn Log>,
    watched: Mutex<HashMap<SessionKey, Watched>>,
}

struct Watched {
    rested: Option<oneshot::Sender<()>>,
    steps: Vec<Instant>,
}

impl Observed {
    fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            watched: Mutex::default(),
        }
    }

    fn watch(&self, key: SessionKey) -> oneshot::Receiver<()> {
        let (rested, rest) = oneshot::channel();
        let watched = Watched {
            rested: Some(rested),
            steps: Vec::with_capacity(STEPS),
        };
        self.watched().insert(key, watched);
        rest
    }

    fn finished(&self, key: SessionKey) -> Vec<Instant> {
        self.watched()
            .remove(&key)
            .map(|watched| watched.steps)
            .unwrap_or_default()
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<SessionKey, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for Observed {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let key = append.key;
        let answers = append
            .events
            .iter()
            .any(|event| matches!(event.body, Body::AgentToolResult(_)));
        let releases = matches!(append.authority, Authority::Holder { release: true, .. });
        let appended = self.log.append(append).await?;
        if (answers || releases)
            && let Some(watched) = self.watched().get_mut(&key)
        {
            if answers {
                watched.steps.push(Instant::now());
            }
            if releases && let Some(rested) = watched.rested.take() {
                // Whoever watches waits.
                let _ = rested.send(());
            }
        }
        Ok(appended)
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        self.log.read(key, from).await
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.log.event(key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.log.list(key, filter).await
    }
}
