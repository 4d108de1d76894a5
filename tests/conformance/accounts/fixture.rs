//! Empty accounts on a database, and what tests put into them.

use std::sync::Arc;

use perennial_api::accounts::postgres::PostgresAccounts;
use perennial_api::accounts::sqlite::SqliteAccounts;
use perennial_api::accounts::{Accounts, AccountsError, Made};
use perennial_broker::log::sqlite::{Settings, Sqlite};
use perennial_schema::agent::{Agent, AgentSnapshot};
use perennial_schema::environment::{Environment, EnvironmentConfig};
use perennial_schema::{AgentId, EnvironmentId, Timestamp, WorkspaceId};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row as _, SqlitePool};
use uuid::Uuid;

use crate::fixture::Hand;

/// Accounts under test.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) workspace: WorkspaceId,
    database: Database,
}

#[derive(Clone)]
enum Database {
    /// With the store and the folder, which live as long.
    Sqlite(
        SqlitePool,
        #[expect(dead_code, reason = "held, not read")] Arc<(Sqlite, tempfile::TempDir)>,
    ),
    Postgres(PgPool),
}

impl Books {
    /// In the server's own file, through the pool the server gives them.
    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            clock: Hand::new(),
            ..Settings::default()
        };
        let store = Sqlite::open(dir.path(), settings).await.unwrap();
        let pool = store.pool_for_accounts();
        Self {
            accounts: Arc::new(SqliteAccounts::new(pool.clone())),
            workspace: workspace(),
            database: Database::Sqlite(pool, Arc::new((store, dir))),
        }
    }

    /// In a database of their own; none where Postgres is not installed.
    pub(crate) async fn postgres() -> Option<Self> {
        let url = crate::fixture::database().await?;
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
        Some(Self {
            accounts: Arc::new(PostgresAccounts::new(pool.clone())),
            workspace: workspace(),
            database: Database::Postgres(pool),
        })
    }

    pub(crate) async fn add(&self, agent: &Agent) -> Made<Agent> {
        let made = self.accounts.create_agent(self.workspace, agent.clone(), None).await;
        made.unwrap()
    }

    pub(crate) async fn put(&self, agent: &Agent) -> Result<Made<Agent>, AccountsError> {
        let accounts = &self.accounts;
        accounts.put_agent_version(self.workspace, agent.clone(), None).await
    }

    /// The first column of what is stored, whoever's it is.
    pub(crate) async fn texts(&self, sql: &'static str) -> Vec<String> {
        match &self.database {
            Database::Sqlite(pool, _) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Database::Postgres(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Checks that no connection sits in a transaction nobody knows of.
    pub(crate) async fn no_transaction_is_open(&self) {
        match &self.database {
            // One would hold the file's write lock, and this would wait for it in vain.
            Database::Sqlite(pool, _) => {
                let writer = pool.begin_with("BEGIN IMMEDIATE").await;
                writer.unwrap().rollback().await.unwrap();
            }
            Database::Postgres(_) => {
                let stuck = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() \
                             AND state LIKE 'idle in transaction%' AND state_change < now() - interval '1 second'";
                assert!(self.texts(stuck).await.is_empty());
            }
        }
    }
}

/// A tenant.
pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::from_uuid(Uuid::now_v7())
}

/// A moment; later ones have greater numbers.
pub(crate) fn at(number: i64) -> Timestamp {
    Timestamp::from_micros(1_750_000_000_000_000 + number)
}

/// An agent nobody has stored yet, made at a moment.
pub(crate) fn agent(made: i64) -> Agent {
    Agent {
        snapshot: AgentSnapshot {
            id: AgentId::from_uuid(Uuid::now_v7()),
            ..crate::fixture::agent()
        },
        metadata: Default::default(),
        created_at: at(made),
        updated_at: at(made),
        archived_at: None,
    }
}

/// The version after an agent's, made at a moment.
pub(crate) fn next_version(agent: &Agent, made: i64) -> Agent {
    let mut next = agent.clone();
    next.snapshot.version += 1;
    next.snapshot.name = format!("coder {made}");
    next.updated_at = at(made);
    next
}

/// An environment nobody has stored yet, made at a moment.
pub(crate) fn environment(name: &str, made: i64) -> Environment {
    Environment {
        id: EnvironmentId::from_uuid(Uuid::now_v7()),
        kind: "environment".into(),
        name: name.into(),
        description: String::new(),
        config: EnvironmentConfig::SelfHosted,
        metadata: Default::default(),
        created_at: at(made),
        updated_at: at(made),
        archived_at: None,
    }
}
