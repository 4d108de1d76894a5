//! Environments. Names are unique among those that are not archived.

use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::environment::Environment;
use perennial_schema::{EnvironmentId, Timestamp, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{SqliteAccounts, Window, begin, commit, decode, encode, inconsistent, recall, remember, store};
use crate::accounts::{AccountsError, Earlier, Listing, Made};

const ADD: &str = "INSERT INTO environments \
                   (workspace_id, id, name, description, config, metadata, created_at, updated_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)";
const PUT: &str = "UPDATE environments SET name = ?3, description = ?4, config = ?5, metadata = ?6, updated_at = ?7, \
                   archived_at = ?8 WHERE workspace_id = ?1 AND id = ?2";
const DELETE: &str = "DELETE FROM environments WHERE workspace_id = ?1 AND id = ?2";
const GET: &str = "SELECT * FROM environments WHERE workspace_id = ?1 AND id = ?2";
const LIST: &str = "SELECT * FROM environments WHERE workspace_id = ?1 AND (?2 OR archived_at IS NULL) \
                    AND created_at > ?3 AND created_at >= ?4 AND created_at < ?5 AND created_at <= ?6 \
                    AND (created_at < ?7 OR (created_at = ?7 AND id < ?8)) \
                    ORDER BY created_at DESC, id DESC LIMIT ?9";

impl SqliteAccounts {
    pub(super) async fn add_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Made<Environment>, AccountsError> {
        self.run(move |pool| async move { add(&pool, workspace, environment, idempotency).await })
            .await
    }

    pub(super) async fn find_environment(
        &self,
        workspace: WorkspaceId,
        id: EnvironmentId,
    ) -> Result<Option<Environment>, StoreError> {
        self.run(move |pool| async move {
            let mut connection = pool.acquire().await.map_err(store)?;
            get(&mut connection, workspace, id).await
        })
        .await
    }

    pub(super) async fn replace_environment(
        &self,
        workspace: WorkspaceId,
        environment: Environment,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Environment>, AccountsError> {
        self.run(move |pool| async move { put(&pool, workspace, environment, idempotency).await })
            .await
    }

    pub(super) async fn remove_environment(
        &self,
        workspace: WorkspaceId,
        id: EnvironmentId,
    ) -> Result<bool, StoreError> {
        self.run(move |pool| async move {
            let done = sqlx::query(DELETE)
                .bind(workspace.to_string())
                .bind(id.to_string())
                .execute(&pool)
                .await
                .map_err(store)?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    pub(super) async fn list_environments(
        &self,
        workspace: WorkspaceId,
        listing: Listing<EnvironmentId>,
    ) -> Result<Vec<Environment>, StoreError> {
        self.run(move |pool| async move {
            let window = Window::of(&listing);
            let rows = sqlx::query(LIST)
                .bind(workspace.to_string())
                .bind(listing.include_archived)
                .bind(window.gt)
                .bind(window.gte)
                .bind(window.lt)
                .bind(window.lte)
                .bind(window.cursor_at)
                .bind(window.cursor_id)
                .bind(listing.limit)
                .fetch_all(&pool)
                .await
                .map_err(store)?;
            rows.iter().map(read).collect()
        })
        .await
    }
}

async fn add(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    environment: Environment,
    idempotency: Option<Idempotency>,
) -> Result<Made<Environment>, AccountsError> {
    let mut transaction = begin(pool).await?;
    let at = environment.created_at;
    if let Some(resource) = earlier(&mut transaction, workspace, idempotency.as_ref(), at).await? {
        return Ok(Made {
            resource,
            replayed: true,
        });
    }
    sqlx::query(ADD)
        .bind(workspace.to_string())
        .bind(environment.id.to_string())
        .bind(&environment.name)
        .bind(&environment.description)
        .bind(encode(&environment.config)?)
        .bind(encode(&environment.metadata)?)
        .bind(at.micros())
        .execute(&mut *transaction)
        .await
        .map_err(|error| taken(error, &environment.name))?;
    remember(
        &mut transaction,
        workspace,
        idempotency.as_ref(),
        &Earlier::environment(environment.id),
        at,
    )
    .await?;
    commit(transaction).await?;
    Ok(Made {
        resource: environment,
        replayed: false,
    })
}

async fn put(
    pool: &SqlitePool,
    workspace: WorkspaceId,
    environment: Environment,
    idempotency: Option<Idempotency>,
) -> Result<Option<Environment>, AccountsError> {
    let mut transaction = begin(pool).await?;
    let at = environment.updated_at;
    if let Some(resource) = earlier(&mut transaction, workspace, idempotency.as_ref(), at).await? {
        return Ok(Some(resource));
    }
    let done = sqlx::query(PUT)
        .bind(workspace.to_string())
        .bind(environment.id.to_string())
        .bind(&environment.name)
        .bind(&environment.description)
        .bind(encode(&environment.config)?)
        .bind(encode(&environment.metadata)?)
        .bind(at.micros())
        .bind(environment.archived_at.map(Timestamp::micros))
        .execute(&mut *transaction)
        .await
        .map_err(|error| taken(error, &environment.name))?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    remember(
        &mut transaction,
        workspace,
        idempotency.as_ref(),
        &Earlier::environment(environment.id),
        at,
    )
    .await?;
    commit(transaction).await?;
    Ok(Some(environment))
}

async fn earlier(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    idempotency: Option<&Idempotency>,
    at: Timestamp,
) -> Result<Option<Environment>, AccountsError> {
    let Some(idempotency) = idempotency else {
        return Ok(None);
    };
    let Some(earlier) = recall(&mut *connection, workspace, idempotency, at).await? else {
        return Ok(None);
    };
    let Ok(id) = earlier.resource_id.parse() else {
        return Ok(None);
    };
    Ok(get(connection, workspace, id).await?)
}

/// The only unique constraint a client can meet is the name's.
fn taken(error: sqlx::Error, name: &str) -> AccountsError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => AccountsError::NameTaken(name.to_owned()),
        _ => store(error).into(),
    }
}

async fn get(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    id: EnvironmentId,
) -> Result<Option<Environment>, StoreError> {
    let row = sqlx::query(GET)
        .bind(workspace.to_string())
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(store)?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Environment, StoreError> {
    const TABLE: &str = "environments";
    let id: &str = row.get("id");
    Ok(Environment {
        id: id.parse().map_err(|error| inconsistent(TABLE, id, error))?,
        kind: "environment".into(),
        name: row.get("name"),
        description: row.get("description"),
        config: decode(TABLE, id, row.get("config"))?,
        metadata: decode(TABLE, id, row.get("metadata"))?,
        created_at: Timestamp::from_micros(row.get("created_at")),
        updated_at: Timestamp::from_micros(row.get("updated_at")),
        archived_at: row.get::<Option<i64>, _>("archived_at").map(Timestamp::from_micros),
    })
}
