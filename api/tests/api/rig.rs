//! A whole API in memory, and short words for calling it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_api::accounts::{Accounts as _, MailAgents};
use perennial_api::{Api, Config, Hosts, Limits, Ports};
use perennial_broker::meter::{Meter, Told};
use perennial_broker::{Hinted, blobs, bus, clock, executors, log, mail, pool, seals, webhooks, work};
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Bus, CallError, Claimed, Clock as _, Ids, Leases as _, Log, Metering,
    Order, Placement, Pool, Projection, Reach, Ready, Router, SessionKey, Settled, ToolSpec, Webhooks, WorkQueues,
};
use perennial_mailbox::{Office, Postman};
use perennial_router::Tunnels;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Body as EventBody, Draft, Idle};
use perennial_schema::frame::{PACK_PIECE_BYTES, PackAnswer, PackAsk};
use perennial_schema::session::StopReason;
use perennial_schema::tool::Outcome;
use perennial_schema::{EventId, ExecutorId, OwnerId, PackId, SessionId, WorkspaceId};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) type Store = Hinted<log::memory::Memory>;

/// An API and what is behind it.
pub(crate) struct Rig {
    pub(crate) api: Api,
    pub(crate) store: Arc<Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) key: String,
    pub(crate) workspace: WorkspaceId,
    pub(crate) hands: Arc<Hands>,
    pub(crate) accounts: SqliteAccounts,
    pub(crate) metering: Arc<dyn Metering>,
    pub(crate) blobs: Arc<blobs::memory::Memory>,
    pub(crate) executors: Arc<executors::Memory>,
    office: Arc<Office>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) webhooks: Arc<dyn Webhooks>,
    owner: OwnerId,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.json);
        self.json
    }

    /// Checks the error shape and gives the message back.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.json);
        assert_eq!(self.json["type"], "error", "{}", self.json);
        assert_eq!(self.json["error"]["type"], kind, "{}", self.json);
        assert_eq!(self.json["status"], status);
        assert!(self.json["title"].is_string() && self.json["detail"].is_string());
        let id = self.headers["request-id"].to_str().unwrap();
        assert!(id.starts_with("req_"));
        assert_eq!(self.json["request_id"], id);
        self.json["error"]["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(bus::local::Local::new()), Config::default(), |ports| ports).await
    }

    /// Feeds that poll every few milliseconds, for tests that lose hints.
    pub(crate) fn impatient() -> Config {
        Config {
            limits: Limits {
                poll: std::time::Duration::from_millis(20),
                heartbeat: std::time::Duration::from_millis(200),
                ..Limits::default()
            },
            ..Config::default()
        }
    }

    pub(crate) async fn with(bus: Arc<dyn Bus>, config: Config, change: impl FnOnce(Ports) -> Ports) -> Self {
        let clock = Arc::new(clock::System);
        let memory = log::memory::Memory::new(clock.clone());
        let meter = Meter::memory(memory.clone(), clock.clone());
        let pool: Arc<dyn Pool> = Arc::new(pool::Memory::new(memory.clone(), clock.clone()));
        let work: Arc<dyn WorkQueues> = Arc::new(work::Memory::new(clock.clone()));
        let webhooks: Arc<dyn Webhooks> = Arc::new(webhooks::Memory::new(clock.clone()));
        let store = Arc::new(Hinted::new(memory, Arc::clone(&bus)));
        let accounts = SqliteAccounts::in_memory().await.unwrap();
        let ensured = accounts.ensure_workspace_and_key(None, clock.now()).await.unwrap();
        let hands = Arc::new(Hands::default());
        let ids = Arc::new(Fresh);
        let registry = Arc::new(executors::Memory::new(clock.clone()));
        let told = Told::new(meter, Arc::clone(&bus), store.clone(), clock.clone(), ids.clone());
        let metering: Arc<dyn Metering> = Arc::new(told);
        let blobs = Arc::new(blobs::memory::Memory::default());
        let office = Arc::new(Office::new(
            Arc::new(mail::Memory::new(clock.clone())),
            store.clone(),
            store.clone(),
            Arc::new(MailAgents(Arc::new(accounts.clone()))),
            Arc::clone(&bus),
            Arc::clone(&metering),
        ));
        let mcp = Arc::new(perennial_broker::mcp::Memory::new(clock.clone()));
        let ports = Ports {
            log: store.clone(),
            sessions: store.clone(),
            leases: store.clone(),
            bus: Arc::clone(&bus),
            blobs: blobs.clone(),
            seals: Arc::new(seals::KeySeals::of("a key of tests").unwrap()),
            router: hands.clone(),
            clock,
            ids,
            accounts: Arc::new(accounts.clone()),
            metering: metering.clone(),
            executors: registry.clone(),
            mail: office.clone(),
            pool: pool.clone(),
            work: work.clone(),
            mcp: mcp.clone(),
            webhooks: webhooks.clone(),
        };
        let exchange = Arc::new(perennial_router::Exchange::new(perennial_router::Settings::default()));
        let owner = OwnerId::from_uuid(Uuid::now_v7());
        store.register(owner, 60_000, &Reach::default()).await.unwrap();
        Self {
            api: Api::new(
                change(ports),
                Config {
                    tunnels: config
                        .tunnels
                        .or_else(|| Some(Arc::new(Tunnels::new(exchange, registry.clone(), owner)))),
                    ..config
                },
            ),
            executors: registry,
            office,
            pool,
            webhooks,
            store,
            bus,
            key: ensured.fresh.unwrap().expose().to_owned(),
            workspace: ensured.workspace,
            hands,
            accounts,
            metering,
            blobs,
            owner,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:7340")
            .header("content-type", "application/json")
            .header("x-api-key", &self.key)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.api.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status: parts.status,
            headers: parts.headers,
            json,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.text(path, body.to_string()).await
    }

    pub(crate) async fn text(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.request("POST", path).body(body.into()).unwrap()).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request("POST", path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(self.request(method, path).body(Body::from(body.to_string())).unwrap())
            .await
    }

    pub(crate) async fn without_key(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn with_bearer(&self, method: &str, path: &str, token: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn agent(&self) -> String {
        let body = json!({"name": "coder", "model": "rehearsal-1", "tools": [{"type": "agent_toolset_20260401"}]});
        id(&self.post("/v1/agents", &body).await.ok())
    }

    pub(crate) async fn environment(&self, config: Value) -> String {
        let name = format!("env {}", Uuid::now_v7());
        id(&self
            .post("/v1/environments", &json!({"name": name, "config": config}))
            .await
            .ok())
    }

    /// A session of a fresh agent in a fresh local environment.
    pub(crate) async fn session(&self) -> String {
        self.session_in(json!({"type": "local"})).await
    }

    pub(crate) async fn session_in(&self, config: Value) -> String {
        let (agent, environment) = (self.agent().await, self.environment(config).await);
        let body = json!({"agent": agent, "environment_id": environment});
        id(&self.post("/v1/sessions", &body).await.ok())
    }

    pub(crate) fn session_key(&self, session: &str) -> SessionKey {
        SessionKey {
            workspace: self.workspace,
            session: session.parse().unwrap(),
        }
    }

    /// Hands over what is due, as a postman would, until nothing is.
    pub(crate) async fn deliver(&self) {
        let postman = Postman::new(self.office.clone(), self.store.clone(), Arc::new(clock::System));
        while postman.round().await.unwrap().is_none() {}
    }

    /// Ends the turn of a session that was claimed for it.
    pub(crate) async fn finish(&self, session: &str) {
        loop {
            let claimed = self.claim().await;
            let idle = EventBody::SessionStatusIdle(Idle {
                stop_reason: StopReason::EndTurn,
            });
            self.hold(&claimed, vec![idle], true).await;
            if claimed.row.key.session.to_string() == session {
                return;
            }
        }
    }

    /// Claims what is ready, as a worker would.
    pub(crate) async fn claim(&self) -> Claimed {
        self.store
            .claim(self.owner, 1, &[])
            .await
            .unwrap()
            .pop()
            .expect("a ready session")
    }

    /// Appends as the holder.
    pub(crate) async fn hold(&self, claimed: &Claimed, bodies: Vec<EventBody>, release: bool) -> Vec<EventId> {
        let drafts: Vec<Draft> = bodies
            .into_iter()
            .map(|body| Draft::new(Fresh.event(), body, clock::System.now()))
            .collect();
        let ids = drafts.iter().map(|draft| draft.id).collect();
        self.hold_drafts(claimed, drafts, release).await.unwrap();
        ids
    }

    pub(crate) async fn hold_drafts(
        &self,
        claimed: &Claimed,
        drafts: Vec<Draft>,
        release: bool,
    ) -> Result<Appended, AppendError> {
        let mut projection = Projection::of(&drafts);
        if release {
            projection.ready = Ready::Never;
        }
        self.store
            .append(Append {
                key: claimed.row.key,
                append_id: Fresh.append(),
                projection,
                events: drafts,
                authority: Authority::Holder {
                    epoch: claimed.row.epoch,
                    only_at_head: None,
                    release,
                },
            })
            .await
    }

    pub(crate) async fn say(&self, session: &str, text: &str) -> Value {
        self.post(&format!("/v1/sessions/{session}/events"), &message(text))
            .await
            .ok()
    }
}

pub(crate) fn message(text: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]})
}

#[track_caller]
pub(crate) fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

/// Ids from the operating system.
pub(crate) struct Fresh;

impl Ids for Fresh {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A router that has no tools and counts what the API asks of it.
#[derive(Default)]
pub(crate) struct Hands {
    pub(crate) copied: AtomicU32,
    pub(crate) forgotten: AtomicU32,
    /// Packed folders, and the sessions they became folders of.
    pub(crate) packs: Mutex<HashMap<PackId, Vec<u8>>>,
    pub(crate) folders: Mutex<HashMap<SessionId, Vec<u8>>>,
}

impl Hands {
    pub(crate) const AT: ExecutorId = ExecutorId::from_uuid(Uuid::from_u128(77));

    fn answer(&self, pack: PackId, ask: PackAsk) -> PackAnswer {
        let (mut packs, mut folders) = (self.packs.lock().unwrap(), self.folders.lock().unwrap());
        match ask {
            PackAsk::Make { session, .. } => {
                let content = folders.get(&session).cloned().unwrap_or_default();
                let bytes = content.len() as u64;
                packs.insert(pack, content);
                PackAnswer::Made { bytes }
            }
            PackAsk::Read { offset } => {
                let rest = &packs[&pack][usize::try_from(offset).unwrap()..];
                let piece = STANDARD.encode(&rest[..rest.len().min(PACK_PIECE_BYTES)]);
                PackAnswer::Piece { offset, piece }
            }
            PackAsk::Write { offset, piece } => {
                let content = packs.entry(pack).or_default();
                assert_eq!(content.len() as u64, offset);
                content.extend(STANDARD.decode(piece).unwrap());
                let bytes = content.len() as u64;
                PackAnswer::Written { bytes }
            }
            PackAsk::Unpack { session } if packs[&pack].starts_with(b"hostile") => PackAnswer::Failed {
                message: format!("the workspace folder of {session} cannot be unpacked: hostile"),
            },
            PackAsk::Unpack { session } => {
                folders.insert(session, packs[&pack].clone());
                PackAnswer::Unpacked
            }
            PackAsk::Drop => {
                packs.remove(&pack);
                PackAnswer::Dropped
            }
        }
    }
}

#[async_trait]
impl Router for Hands {
    async fn catalogue(&self, _: SessionKey, _: &AgentSnapshot, _: &EnvironmentConfig) -> Vec<ToolSpec> {
        Vec::new()
    }

    async fn place(&self, _: SessionKey, _: &EnvironmentConfig) -> Result<Placement, String> {
        Err("no hands".into())
    }

    async fn call(&self, _: Order) -> Result<Outcome, CallError> {
        Err(CallError::NotStarted("no hands".into()))
    }

    async fn settle(&self, _: Order) -> Result<Settled, CallError> {
        Ok(Settled::NeverStarted)
    }

    async fn cancel(&self, _: SessionKey, _: u64, _: EventId) {}

    async fn copy_workspace(&self, _: SessionId, _: SessionId, _: Option<ExecutorId>) -> Result<(), String> {
        self.copied.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn pack(
        &self,
        _: Option<ExecutorId>,
        pack: PackId,
        ask: PackAsk,
    ) -> Result<(ExecutorId, PackAnswer), String> {
        Ok((Self::AT, self.answer(pack, ask)))
    }

    async fn forget(&self, _: SessionId, _: Option<ExecutorId>) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }
}

/// Only loopback names, the default; named so that tests read well.
pub(crate) fn loopback() -> Hosts {
    Hosts::Loopback
}

/// Bytes as text.
pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
