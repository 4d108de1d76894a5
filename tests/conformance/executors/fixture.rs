//! A registry with a clock in the test's hand.

use std::sync::Arc;

use perennial_broker::executors;
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_engine::ports::{Executor, ExecutorKind, Executors, NewExecutor, RegisterError, SandboxHosts, Sandboxes};
use perennial_schema::{ExecutorCode, ExecutorId, ExecutorToken, OwnerId, WorkspaceId};
use uuid::Uuid;

use crate::fixture::{Hand, database, open};

/// A registry under test.
pub(crate) struct Desk {
    pub(crate) registry: Arc<dyn Executors>,
    /// The same store seen by another process.
    pub(crate) elsewhere: Arc<dyn Executors>,
    /// The same two, for the sandboxes of executors.
    pub(crate) sandboxes: Arc<dyn Sandboxes>,
    pub(crate) elsewhere_sandboxes: Arc<dyn Sandboxes>,
    /// And who makes those.
    pub(crate) hosts: Arc<dyn SandboxHosts>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) workspace: WorkspaceId,
    _dir: Option<tempfile::TempDir>,
}

impl Desk {
    pub(crate) fn memory() -> Self {
        let clock = Hand::new();
        let registry = Arc::new(executors::Memory::new(Arc::<Hand>::clone(&clock)));
        Self::over(registry.clone(), registry, clock, None)
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        let registry = || Arc::new(executors::Sqlite::new(store.clone()));
        Self::over(registry(), registry(), clock, Some(dir))
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let store = Postgres::open(&url, settings()).await.unwrap();
        let other = Postgres::open(&url, settings()).await.unwrap();
        let registry = Arc::new(executors::Postgres::new(&store));
        let elsewhere = Arc::new(executors::Postgres::new(&other));
        Some(Self::over(registry, elsewhere, clock, None))
    }

    fn over<R: Executors + Sandboxes + SandboxHosts + 'static>(
        registry: Arc<R>,
        elsewhere: Arc<R>,
        clock: Arc<Hand>,
        dir: Option<tempfile::TempDir>,
    ) -> Self {
        Self {
            sandboxes: registry.clone(),
            hosts: registry.clone(),
            elsewhere_sandboxes: elsewhere.clone(),
            registry,
            elsewhere,
            clock,
            workspace: tenant(),
            _dir: dir,
        }
    }

    pub(crate) async fn code(&self) -> ExecutorCode {
        let minted = self.registry.mint_code(self.workspace, Uuid::now_v7()).await;
        minted.unwrap().code
    }

    pub(crate) async fn register(&self, code: &ExecutorCode, token: &ExecutorToken) -> Result<Executor, RegisterError> {
        let new = NewExecutor {
            id: token.id,
            name: "laptop".into(),
            kind: ExecutorKind::Device,
            hash: token.hash(),
        };
        self.registry.register(code.hash(), new).await
    }

    /// A machine of the workspace.
    pub(crate) async fn machine(&self) -> Executor {
        let code = self.code().await;
        self.register(&code, &token(1)).await.unwrap()
    }
}

/// A workspace nobody else has.
pub(crate) fn tenant() -> WorkspaceId {
    WorkspaceId::from_uuid(Uuid::now_v7())
}

pub(crate) fn token(secret: u8) -> ExecutorToken {
    ExecutorToken::new(ExecutorId::from_uuid(Uuid::now_v7()), [secret; 32])
}

pub(crate) fn process() -> OwnerId {
    OwnerId::from_uuid(Uuid::now_v7())
}
