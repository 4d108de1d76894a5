//! The registry in the shared database: every change is one statement that commits by itself and may be said twice.

use async_trait::async_trait;
use perennial_engine::ports::{
    CodeError, EXECUTOR_PASS_MILLIS, EXECUTOR_VISIT_MILLIS, Executor, ExecutorListing, Executors, HeldTunnel,
    MintedCode, NewExecutor, RegisterError, StoreError, StoredCode,
};
use perennial_schema::frame::Card;
use perennial_schema::{ExecutorId, ExecutorPass, ExecutorSecretHash, ExecutorTicket, OwnerId, WorkspaceId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{fresh_code, fresh_pass, fresh_ticket, words};
use crate::log::postgres::{self, Desk, Time};
use crate::sql::{Columns, Statement, add, statement, vanished};

/// A registry in the shared database.
#[derive(Clone)]
pub struct Postgres {
    desk: Desk,
    time: Time,
}

impl Postgres {
    /// Beside the sessions of this store.
    #[must_use]
    pub fn new(store: &postgres::Postgres) -> Self {
        let (desk, time) = store.meter();
        Self { desk, time }
    }

    /// Asks with the database's clock.
    pub(crate) async fn rows(&self, asked: Statement) -> Result<Vec<PgRow>, StoreError> {
        let asked = asked.at("(SELECT micros FROM tick)");
        let time = self.time.clone();
        let make = move || {
            let mut script = time.script();
            script.sql(
                ", tick AS MATERIALIZED (SELECT (extract(epoch FROM now) * 1000000)::bigint AS micros FROM clock) ",
            );
            add(&mut script, &asked);
            script
        };
        self.desk.ask(make).await
    }
}

#[async_trait]
impl Executors for Postgres {
    async fn mint_code(&self, workspace: WorkspaceId, id: Uuid) -> Result<MintedCode, CodeError> {
        self.rows(words::forget_codes()).await?;
        let code = fresh_code()?;
        self.rows(words::add_code(workspace, id, &code)).await?;
        let stored = self.code(workspace, id).await?.ok_or_else(vanished)?;
        // By its hash and not by whether a row was added: the answer to that may have been lost, and asked for again.
        if stored.hash != code.hash() {
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
        let used = statement(", used AS (")
            .with_statement(words::use_code(code))
            .sql(") ")
            .sql(words::ADD)
            .sql("SELECT workspace_id");
        self.rows(words::new_values(used, &new).sql(" FROM used ON CONFLICT (id) DO NOTHING"))
            .await?;
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
        let rows = self.rows(words::rename(workspace, id, name)).await?;
        rows.first().map(words::executor_of).transpose()
    }

    async fn remove(&self, workspace: WorkspaceId, id: ExecutorId) -> Result<bool, StoreError> {
        let rows = self.rows(words::remove(workspace, id)).await?;
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
        let rows = self.rows(words::connect(workspace, id, (node, url), &card)).await?;
        rows.first().map(|row| row.amount("generation")).transpose()
    }

    async fn describe(&self, held: HeldTunnel, card: &Card) -> Result<(), StoreError> {
        let card = words::card_text(card)?;
        self.rows(words::describe(held, &card)).await.map(|_| ())
    }

    async fn renew(&self, node: OwnerId) -> Result<Vec<HeldTunnel>, StoreError> {
        let rows = self.rows(words::renew(node)).await?;
        rows.iter().map(words::held_of).collect()
    }

    async fn disconnect(&self, held: HeldTunnel) -> Result<(), StoreError> {
        self.rows(words::disconnect(held)).await.map(|_| ())
    }

    async fn mint_pass(&self, id: ExecutorId) -> Result<ExecutorPass, StoreError> {
        self.rows(words::forget_passes()).await?;
        let pass = fresh_pass()?;
        self.rows(words::add_pass(id, pass.hash(), EXECUTOR_PASS_MILLIS))
            .await?;
        Ok(pass)
    }

    async fn mint_ticket(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        self.rows(words::forget_passes()).await?;
        let ticket = fresh_ticket()?;
        self.rows(words::add_pass(id, ticket.hash(what), EXECUTOR_PASS_MILLIS))
            .await?;
        Ok(ticket)
    }

    async fn mint_visit(&self, id: ExecutorId, what: &str) -> Result<ExecutorTicket, StoreError> {
        self.rows(words::forget_passes()).await?;
        let visit = fresh_ticket()?;
        self.rows(words::add_pass(id, visit.hash(what), EXECUTOR_VISIT_MILLIS))
            .await?;
        Ok(visit)
    }

    async fn is_visit(&self, id: ExecutorId, visit: ExecutorSecretHash) -> Result<bool, StoreError> {
        let rows = self.rows(words::is_pass(id, visit)).await?;
        Ok(!rows.is_empty())
    }

    /// Said twice, the second answer is no: who was refused so makes another pass.
    async fn use_pass(&self, id: ExecutorId, pass: ExecutorSecretHash) -> Result<bool, StoreError> {
        let rows = self.rows(words::use_pass(id, pass)).await?;
        Ok(!rows.is_empty())
    }
}
