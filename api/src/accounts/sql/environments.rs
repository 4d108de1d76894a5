//! Environments. Names are unique among those that are not archived.

use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::environment::Environment;
use perennial_schema::{EnvironmentId, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns, Dialect, Statement, decode, encode, inconsistent, statement};
use super::resource::{Change, Resource, one, page_of};
use super::work::Work;
use crate::accounts::{AccountsError, Earlier, Made};

const ADD: &str = "INSERT INTO environments \
                   (workspace_id, id, name, description, config, metadata, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";
const PUT: &str = "UPDATE environments SET name = $3, description = $4, config = $5, metadata = $6, updated_at = $7, \
                   archived_at = $8 WHERE workspace_id = $1 AND id = $2";
const DELETE: &str = "DELETE FROM environments WHERE workspace_id = $1 AND id = $2";
const GET: &str = "SELECT * FROM environments r WHERE r.workspace_id = $1 AND r.id = $2";

impl Resource for Environment {
    const PAGE: &'static str = page_of!("SELECT * FROM environments r");

    fn made(&self) -> Earlier {
        Earlier::environment(self.id)
    }

    fn made_by(workspace: WorkspaceId, earlier: &Earlier) -> Statement {
        statement(GET).text(workspace).text(&earlier.resource_id)
    }

    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        const TABLE: &str = "environments";
        let id = row.text("id")?;
        Ok(Self {
            id: id.parse().map_err(|error| inconsistent(TABLE, id, error))?,
            kind: "environment".into(),
            name: row.text("name")?.into(),
            description: row.text("description")?.into(),
            config: decode(TABLE, id, row.text("config")?)?,
            metadata: decode(TABLE, id, row.text("metadata")?)?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            archived_at: row.maybe_time("archived_at")?,
        })
    }
}

pub(super) async fn create<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    environment: Environment,
    idempotency: Option<Idempotency>,
) -> Result<Made<Environment>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, environment.created_at).await?;
    if let Some(made) = change.repeated().await? {
        return Ok(made);
    }
    let add = filled(ADD, workspace, &environment)?.time(environment.created_at);
    change
        .execute(add)
        .await
        .map_err(|error| taken::<DB>(error, &environment.name))?;
    change.finish(environment).await
}

pub(super) async fn put<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    environment: Environment,
    idempotency: Option<Idempotency>,
) -> Result<Option<Environment>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, environment.updated_at).await?;
    if let Some(made) = change.repeated::<Environment>().await? {
        return Ok(Some(made.resource));
    }
    let put = filled(PUT, workspace, &environment)?
        .time(environment.updated_at)
        .maybe_time(environment.archived_at);
    let changed = change
        .execute(put)
        .await
        .map_err(|error| taken::<DB>(error, &environment.name))?;
    if changed == 0 {
        return Ok(None);
    }
    change.finish(environment).await.map(|made| Some(made.resource))
}

pub(super) async fn find<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: EnvironmentId,
) -> Result<Option<Environment>, StoreError> {
    let mut work = Work::reading(&pool).await?;
    one(&mut work, statement(GET).text(workspace).text(id)).await
}

pub(super) async fn delete<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: EnvironmentId,
) -> Result<bool, StoreError> {
    let mut work = Work::<DB>::reading(&pool).await?;
    let delete = statement(DELETE).text(workspace).text(id);
    // By itself it is committed when it is done.
    let gone = work.execute(delete).await.map_err(DB::uncommitted)?;
    Ok(gone > 0)
}

/// The first six values of both writing statements.
fn filled(sql: &'static str, workspace: WorkspaceId, environment: &Environment) -> Result<Statement, StoreError> {
    Ok(statement(sql)
        .text(workspace)
        .text(environment.id)
        .text(&environment.name)
        .text(&environment.description)
        .text(encode(&environment.config)?)
        .text(encode(&environment.metadata)?))
}

/// The only unique constraint a client can meet is the name's.
fn taken<DB: Dialect>(error: sqlx::Error, name: &str) -> AccountsError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => AccountsError::NameTaken(name.to_owned()),
        _ => DB::unavailable(error).into(),
    }
}
