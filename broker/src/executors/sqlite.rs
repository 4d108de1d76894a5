//! The registry in the embedded database: its changes are members of the one writer's transactions.

use async_trait::async_trait;
use perennial_engine::ports::{
    CodeError, EXECUTOR_PASS_MILLIS, EXECUTOR_VISIT_MILLIS, Executor, ExecutorListing, Executors, HeldTunnel,
    MintedCode, NewExecutor, RegisterError, StoreError, StoredCode,
};
use perennial_schema::frame::Card;
use perennial_schema::{ExecutorId, ExecutorPass, ExecutorSecretHash, ExecutorTicket, OwnerId, Timestamp, WorkspaceId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{fresh_code, fresh_pass, fresh_ticket, words};
use crate::log::sqlite::{self, Halt, Verb, before_commit, refuse};
use crate::sql::{Columns, Statement, run, statement, vanished};

/// A registry in the embedded database.
#[derive(Clone)]
pub struct Sqlite {
    store: sqlite::Sqlite,
}

fn at(asked: Statement, now: Timestamp) -> Statement {
    asked.at(&now.micros().to_string())
}

/// Statements that are one commit; the answer is the last one's.
struct All {
    statements: Vec<Statement>,
    durable: bool,
}

#[async_trait]
impl Verb for All {
    type Answer = Vec<SqliteRow>;
    type Refusal = StoreError;

    fn durable(&self) -> bool {
        self.durable
    }

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<Vec<SqliteRow>, Halt<StoreError>> {
        let mut rows = Vec::new();
        for asked in &self.statements {
            rows = run(db, at(asked.clone(), now)).await?;
        }
        Ok(rows)
    }
}

/// Uses a code up and adds the machine.
struct Register {
    code: ExecutorSecretHash,
    new: NewExecutor,
}

#[async_trait]
impl Verb for Register {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, db: &mut SqliteConnection, now: Timestamp) -> Result<(), Halt<StoreError>> {
        let used = run(db, at(words::use_code(self.code), now)).await?;
        let Some(used) = used.first() else { return Ok(()) };
        let workspace = used.id("workspace_id").map_err(refuse)?;
        let add = statement(words::ADD).sql("VALUES (?").id(workspace);
        run(db, at(words::new_values(add, &self.new).sql(")"), now)).await?;
        Ok(())
    }
}

impl Sqlite {
    /// Beside the sessions of this store.
    #[must_use]
    pub const fn new(store: sqlite::Sqlite) -> Self {
        Self { store }
    }

    pub(crate) async fn rows(&self, asked: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        let asked = at(asked, self.store.clock().now());
        let read = |pool: sqlx::SqlitePool| async move {
            let mut db = pool.acquire().await.map_err(|error| before_commit(&error))?;
            run(&mut db, asked).await.map_err(|error| before_commit(&error))
        };
        self.store.read(read).await
    }

    pub(crate) async fn change(&self, statements: Vec<Statement>) -> Result<Vec<SqliteRow>, StoreError> {
        self.store
            .ask(All {
                statements,
                durable: true,
            })
            .await
    }

    /// Says who is there, which is said again soon.
    pub(crate) async fn note(&self, asked: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        let statements = vec![asked];
        self.store
            .ask(All {
                statements,
                durable: false,
            })
            .await
    }
}

#[async_trait]
impl Executors for Sqlite {
    async fn mint_code(&self, workspace: WorkspaceId, id: Uuid) -> Result<MintedCode, CodeError> {
        let code = fresh_code()?;
        let made = self
            .change(vec![words::forget_codes(), words::add_code(workspace, id, &code)])
            .await?;
        let stored = self.code(workspace, id).await?.ok_or_else(vanished)?;
        if made.is_empty() {
            return Err(CodeError::Exists(stored));
        }
        Ok(MintedCode { stored, code })
    }

    async fn code(&self, workspace: WorkspaceId, id: Uuid) -> Result<Option<StoredCode>, StoreError> {
        let rows = self.rows(words::code(workspace, id)).await?;
        rows.first().map(words::code_of).transpose()
    }

    async fn register(&self, code: ExecutorSecretHash, new: NewExecutor) -> Result<Executor, RegisterError> {
        let (id, hash) = (new.id, new.hash);
        self.store.ask(Register { code, new }).await?;
        let found = self.holder(id).await?;
        found
            .filter(|executor| executor.hash == hash)
            .ok_or(RegisterError::NoSuchCode)
    }

    async fn holder(&self, id: ExecutorId) -> Result<Option<Executor>, StoreError> {
        let rows = self.rows(words::holder(id)).await?;
        rows.first().map(words::executor_of).transpose()
    }

    async fn executor(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<Option<Executor>, StoreError> {
        let rows = self.rows(words::executor(workspace, id)).await?;
        rows.first().map(words::executor_of).transpose()
    }

    async fn executors(&self, listing: ExecutorListing) -> Result<Vec<Executor>, StoreError> {
        let rows = self.rows(words::executors(&listing)).await?;
        rows.iter().map(words::executor_of).collect()
    }

    async fn rename(&self, workspace: WorkspaceId, id: ExecutorId, name: &str) -> Result<Option<Executor>, StoreError> {
        let rows = self.change(vec![words::rename(workspace, id, name)]).await?;
        rows.first().map(words::executor_of).transpose()
    }

    async fn remove(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<bool, StoreError> {
        let rows = self.change(vec![words::remove(workspace, id)]).await?;
        Ok(!rows.is_empty())
    }

    async fn connect(
        &self,
        workspace: WorkspaceId,
        id: ExecutorId,
        node: OwnerId,
        url: Option<&str>,
        card: &Card,
    ) -> Result<Option<u64>, StoreError> {
        let card = words::card_text(card)?;
        let rows = self
            .change(vec![words::connect(workspace, id, (node, url), &card)])
            .await?;
        rows.first().map(|row| row.amount("generation")).transpose()
    }

    async fn describe(&self, held: HeldTunnel, card: &Card) -> Result<(), StoreError> {
        let card = words::card_text(card)?;
        self.change(vec![words::describe(held, &card)]).await.map(|_| ())
    }

    async fn renew(&self, node: OwnerId) -> Result<Vec<HeldTunnel>, StoreError> {
        let rows = self.note(words::renew(node)).await?;
        rows.iter().map(words::held_of).collect()
    }

    async fn disconnect(&self, held: HeldTunnel) -> Result<(), StoreError> {
        self.note(words::disconnect(held)).await.map(|_| ())
    }

    async fn mint_pass(&self, id: ExecutorId) -> Result<ExecutorPass, StoreError> {
        let pass = fresh_pass()?;
        self.change(vec![
            words::forget_passes(),
            words::add_pass(id, pass.hash(), EXECUTOR_PASS_MILLIS),
        ])
        .await?;
        Ok(pass)
    }

    async fn mint_ticket(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        let ticket = fresh_ticket()?;
        self.change(vec![
            words::forget_passes(),
            words::add_pass(id, ticket.hash(what), EXECUTOR_PASS_MILLIS),
        ])
        .await?;
        Ok(ticket)
    }

    async fn mint_visit(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        let visit = fresh_ticket()?;
        let added = words::add_pass(id, visit.hash(what), EXECUTOR_VISIT_MILLIS);
        self.change(vec![words::forget_passes(), added]).await?;
        Ok(visit)
    }

    async fn is_visit(&self, id: ExecutorId, visit: ExecutorSecretHash) -> Result<bool, StoreError> {
        let rows = self.rows(words::is_pass(id, visit)).await?;
        Ok(!rows.is_empty())
    }

    async fn use_pass(&self, id: ExecutorId, pass: ExecutorSecretHash) -> Result<bool, StoreError> {
        let rows = self.change(vec![words::use_pass(id, pass)]).await?;
        Ok(!rows.is_empty())
    }
}
