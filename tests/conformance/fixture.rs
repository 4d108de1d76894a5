//! A store under test with a clock in the test's hand, and short words for what tests say to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use perennial_broker::log::memory::Memory;
use perennial_broker::log::postgres::{self, Postgres};
use perennial_broker::log::sqlite::{Settings, Sqlite};
use perennial_engine::ports::{
    Append, AppendError, Appended, Authority, Claimed, Clock, EventFilter, Guard, Idempotency, Leases, Log, NewSession,
    Projection, Reach, ReadFrom, Ready, SessionFilter, SessionKey, SessionRow, Sessions,
};
use perennial_schema::agent::{AgentSnapshot, Harness, ModelConfig};
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::{
    Body, CustomToolResult, Draft, Empty, Idle, InputProcessed, Message, Permission, Raw, Record, ToolConfirmation,
    ToolResult, ToolUse, Verdict,
};
use perennial_schema::session::StopReason;
use perennial_schema::{
    AgentId, AppendId, EnvironmentId, EventId, OwnerId, SessionId, Timestamp, WorkspaceId, content,
};
use uuid::Uuid;

/// Everything a log backend implements.
pub(crate) trait Store: Log + Sessions + Leases {}
impl<S: Log + Sessions + Leases> Store for S {}

/// A clock that moves when told.
#[derive(Debug)]
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_750_000_000_000_000)))
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis * 1000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Time to live of the leases in these tests, in milliseconds.
pub(crate) const TTL: u64 = 15_000;

/// A store, its clock and one tenant.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) _dir: Option<Arc<tempfile::TempDir>>,
}

impl Rig {
    pub(crate) fn memory() -> Self {
        Self::memory_with(None)
    }

    /// The same; a workspace gets so many slots.
    pub(crate) fn memory_with(workspace_slots: Option<u32>) -> Self {
        let clock = Hand::new();
        let store = Memory::new(Arc::<Hand>::clone(&clock));
        let store = match workspace_slots {
            Some(slots) => store.with_workspace_slots(slots),
            None => store,
        };
        Self::over(Arc::new(store), clock)
    }

    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(None).await
    }

    /// The same; a workspace gets so many slots.
    pub(crate) async fn sqlite_with(workspace_slots: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = Arc::new(open_with(dir.path(), &clock, workspace_slots).await);
        Self {
            store,
            clock,
            workspace: workspace(),
            _dir: Some(Arc::new(dir)),
        }
    }

    /// `None` where Postgres is not installed.
    pub(crate) async fn postgres() -> Option<Self> {
        Self::postgres_with(None).await
    }

    /// The same; a workspace gets so many slots.
    pub(crate) async fn postgres_with(workspace_slots: Option<u32>) -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = postgres::Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            workspace_slots,
            ..postgres::Settings::default()
        };
        let store = Postgres::open(&url, settings).await.unwrap();
        Some(Self::over(Arc::new(store), clock))
    }

    /// A rig over a store the test opened itself.
    pub(crate) fn over(store: Arc<dyn Store>, clock: Arc<Hand>) -> Self {
        Self {
            store,
            clock,
            workspace: workspace(),
            _dir: None,
        }
    }

    /// The same store seen by another tenant.
    pub(crate) fn tenant(&self) -> Self {
        Self {
            workspace: workspace(),
            ..self.clone()
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A key of this tenant.
    pub(crate) fn key(&self) -> SessionKey {
        SessionKey {
            workspace: self.workspace,
            session: SessionId::from_uuid(Uuid::now_v7()),
        }
    }

    /// A session without events.
    pub(crate) async fn session(&self) -> SessionKey {
        let key = self.key();
        self.store.create(new_session(key), None).await.unwrap();
        key
    }

    pub(crate) async fn row(&self, key: SessionKey) -> SessionRow {
        self.store.get(key).await.unwrap().unwrap()
    }

    pub(crate) async fn log(&self, key: SessionKey) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = ReadFrom {
                after: records.last().map_or(0, |record| record.seq),
                limit: 1000,
            };
            let page = self.store.read(key, from).await.unwrap();
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    pub(crate) async fn list(&self, key: SessionKey, filter: EventFilter) -> Vec<Record> {
        self.store.list(key, filter).await.unwrap()
    }

    pub(crate) async fn find(&self, filter: SessionFilter) -> Vec<SessionId> {
        let rows = self.store.find(self.workspace, filter).await.unwrap();
        rows.into_iter().map(|row| row.key.session).collect()
    }

    /// A client's append that makes the session ready.
    pub(crate) async fn say(&self, key: SessionKey, text: &str) -> Appended {
        self.store
            .append(client(key, vec![self.message(text)], Ready::Now))
            .await
            .unwrap()
    }

    /// A living owner.
    pub(crate) async fn owner(&self) -> OwnerId {
        let owner = OwnerId::from_uuid(Uuid::now_v7());
        self.store.register(owner, TTL, &Reach::default()).await.unwrap();
        owner
    }

    /// A living owner that has these harnesses.
    pub(crate) async fn owner_with(&self, harnesses: &[&str]) -> OwnerId {
        let owner = OwnerId::from_uuid(Uuid::now_v7());
        let reach = Reach {
            harnesses: Some(harnesses.iter().map(|&name| name.to_owned()).collect()),
            ..Reach::default()
        };
        self.store.register(owner, TTL, &reach).await.unwrap();
        owner
    }

    /// A ready session whose agent wants a harness.
    pub(crate) async fn wants(&self, harness: Harness) -> SessionKey {
        let mut new = new_session(self.key());
        new.agent.harness = harness;
        let key = new.key;
        self.store.create(new, None).await.unwrap();
        self.say(key, "go").await;
        key
    }

    pub(crate) async fn claim(&self, owner: OwnerId, limit: u32) -> Vec<Claimed> {
        self.store.claim(owner, limit, &[]).await.unwrap()
    }

    /// A session that was spoken to and claimed: its key, its owner and the epoch.
    pub(crate) async fn held(&self) -> (SessionKey, OwnerId, u64) {
        let key = self.session().await;
        self.say(key, "hello").await;
        let owner = self.owner().await;
        let claimed = self.claim(owner, 10).await;
        let epoch = claimed.iter().find(|claimed| claimed.row.key == key).unwrap().row.epoch;
        (key, owner, epoch)
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.store.append(append).await
    }

    /// A user's message.
    pub(crate) fn message(&self, text: &str) -> Draft {
        let json = serde_json::json!({ "type": "user.message", "content": [{ "type": "text", "text": text }] });
        Draft::input(
            event_id(),
            "user.message",
            &json.to_string(),
            self.now(),
            Some("key_test".into()),
        )
        .unwrap()
    }

    /// An input of a given body; its JSON is the body's own.
    pub(crate) fn input(&self, kind: &str, json: &serde_json::Value) -> Draft {
        Draft::input(event_id(), kind, &json.to_string(), self.now(), None).unwrap()
    }

    /// An event of the engine.
    pub(crate) fn event(&self, body: Body) -> Draft {
        Draft::new(event_id(), body, self.now())
    }

    pub(crate) fn answer_text(&self, text: &str) -> Draft {
        self.event(Body::AgentMessage(Message {
            content: content::text_content(text),
        }))
    }

    pub(crate) fn tool_use(&self, permission: Permission) -> Draft {
        self.event(Body::AgentToolUse(ToolUse {
            name: "bash".into(),
            input: Raw::of(&serde_json::json!({ "command": "ls" })),
            evaluated_permission: Some(permission),
        }))
    }

    pub(crate) fn custom_tool_use(&self) -> Draft {
        self.event(Body::AgentCustomToolUse(ToolUse {
            name: "weather".into(),
            input: Raw::of(&serde_json::json!({})),
            evaluated_permission: None,
        }))
    }

    pub(crate) fn tool_result(&self, of: EventId) -> Draft {
        self.event(Body::AgentToolResult(ToolResult {
            tool_use_id: of,
            content: None,
            is_error: Some(true),
        }))
    }

    pub(crate) fn confirmation(&self, of: EventId) -> Draft {
        self.event(Body::UserToolConfirmation(ToolConfirmation {
            tool_use_id: of,
            result: Verdict::Allow,
            deny_message: None,
        }))
    }

    pub(crate) fn custom_result(&self, of: EventId) -> Draft {
        self.event(Body::UserCustomToolResult(CustomToolResult {
            custom_tool_use_id: of,
            content: None,
            is_error: None,
        }))
    }

    pub(crate) fn running(&self) -> Draft {
        self.event(Body::SessionStatusRunning(Empty {}))
    }

    pub(crate) fn idle(&self, stop_reason: StopReason) -> Draft {
        self.event(Body::SessionStatusIdle(Idle { stop_reason }))
    }

    pub(crate) fn processed(&self, inputs: &[EventId]) -> Draft {
        self.event(Body::InputProcessed(InputProcessed {
            event_ids: inputs.to_vec(),
        }))
    }

    /// The holder's way to rest: idle, not ready and released, only if nothing new arrived.
    pub(crate) fn rest(&self, key: SessionKey, epoch: u64, head: u64) -> Append {
        let events = vec![self.idle(StopReason::EndTurn)];
        Append {
            authority: Authority::Holder {
                epoch,
                only_at_head: Some(head),
                release: true,
            },
            ..holder(key, epoch, events)
        }
    }
}

/// A database of its own for one test, with our schema; `None` where Postgres is not installed.
pub(crate) async fn database() -> Option<String> {
    static TEMPLATE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let Some(server) = perennial_tests::postgres::Shared::get().unwrap() else {
        perennial_tests::not_run("Postgres is not installed").unwrap();
        return None;
    };
    let migrated = async {
        let url = server.database("migrated", None).await.unwrap();
        postgres::migrate(&url, None).await.unwrap();
    };
    TEMPLATE.get_or_init(|| migrated).await;
    let name = format!("t{}", Uuid::now_v7().simple());
    Some(server.database(&name, Some("migrated")).await.unwrap())
}

/// Opens a SQLite store in a directory.
pub(crate) async fn open(dir: &Path, clock: &Arc<Hand>) -> Sqlite {
    open_with(dir, clock, None).await
}

/// The same; a workspace gets so many slots.
pub(crate) async fn open_with(dir: &Path, clock: &Arc<Hand>, workspace_slots: Option<u32>) -> Sqlite {
    let settings = Settings {
        clock: Arc::<Hand>::clone(clock),
        workspace_slots,
    };
    Sqlite::open(dir, settings).await.unwrap()
}

pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::from_uuid(Uuid::now_v7())
}

pub(crate) fn event_id() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

pub(crate) fn append_id() -> AppendId {
    AppendId::from_uuid(Uuid::now_v7())
}

/// A client's append without conditions.
pub(crate) fn client(key: SessionKey, events: Vec<Draft>, ready: Ready) -> Append {
    let projection = Projection {
        ready,
        ..Projection::of(&events)
    };
    Append {
        key,
        append_id: append_id(),
        events,
        authority: Authority::Client {
            guards: Vec::new(),
            idempotency: None,
        },
        projection,
    }
}

pub(crate) fn guarded(append: Append, guard: Guard) -> Append {
    Append {
        authority: Authority::Client {
            guards: vec![guard],
            idempotency: None,
        },
        ..append
    }
}

pub(crate) fn keyed(append: Append, idempotency: Idempotency) -> Append {
    Append {
        authority: Authority::Client {
            guards: Vec::new(),
            idempotency: Some(idempotency),
        },
        ..append
    }
}

/// A holder's append without conditions.
pub(crate) fn holder(key: SessionKey, epoch: u64, events: Vec<Draft>) -> Append {
    let projection = Projection::of(&events);
    Append {
        key,
        append_id: append_id(),
        events,
        authority: Authority::Holder {
            epoch,
            only_at_head: None,
            release: false,
        },
        projection,
    }
}

pub(crate) fn agent() -> AgentSnapshot {
    AgentSnapshot {
        id: AgentId::from_uuid(Uuid::from_u128(1)),
        kind: "agent".into(),
        version: 1,
        name: "tester".into(),
        model: ModelConfig {
            id: "rehearsal-1".into(),
            speed: None,
            effort: Some(Raw::of("low")),
            inference_geo: None,
        },
        system: Some("Be brief. \"Quotes\" and ünïcode.".into()),
        description: None,
        tools: Vec::new(),
        mcp_servers: vec![Raw::of(&serde_json::json!({ "name": "x", "url": "http://localhost" }))],
        skills: Vec::new(),
        multiagent: None,
        execution_identity: None,
        harness: Harness::Native,
        mail: None,
        executors: Vec::new(),
    }
}

pub(crate) fn new_session(key: SessionKey) -> NewSession {
    let mut metadata = serde_json::Map::new();
    metadata.insert("zeta".into(), "1".into());
    metadata.insert("alpha".into(), "2".into());
    NewSession {
        key,
        agent: agent(),
        environment_id: EnvironmentId::from_uuid(Uuid::from_u128(2)),
        environment: EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        },
        title: Some("A title".into()),
        metadata,
        resources: vec![Raw::of(&serde_json::json!({ "type": "file" }))],
        vault_ids: vec!["vlt_1".into()],
        budget: Some(Raw::of(&serde_json::json!({ "max_tokens": 5 }))),
        place: None,
        events: Vec::new(),
        projection: Projection::default(),
        idempotency: None,
    }
}
