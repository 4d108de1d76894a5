//! Uploaded files. What is in them is a blob and not here.

use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::file::File;
use perennial_schema::{FileId, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns, Dialect, Statement, inconsistent, statement};
use super::resource::{Change, Resource, one, page_of};
use super::work::Work;
use crate::accounts::{AccountsError, Earlier, Made};

const ADD: &str = "INSERT INTO files (workspace_id, id, filename, mime_type, size_bytes, sha256, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
const GET: &str = "SELECT * FROM files r WHERE r.workspace_id = $1 AND r.id = $2";
const DELETE: &str = "DELETE FROM files WHERE workspace_id = $1 AND id = $2";

impl Resource for File {
    const PAGE: &'static str = page_of!("SELECT * FROM files r");

    fn made(&self) -> Earlier {
        Earlier {
            resource_id: self.id.to_string(),
            version: 0,
        }
    }

    fn made_by(workspace: WorkspaceId, earlier: &Earlier) -> Statement {
        statement(GET).text(workspace).text(&earlier.resource_id)
    }

    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        const TABLE: &str = "files";
        let id = row.text("id")?;
        Ok(Self {
            id: id.parse().map_err(|error| inconsistent(TABLE, id, error))?,
            kind: "file".into(),
            filename: row.text("filename")?.into(),
            mime_type: row.text("mime_type")?.into(),
            size_bytes: u64::try_from(row.number("size_bytes")?).map_err(|error| inconsistent(TABLE, id, error))?,
            created_at: row.time("created_at")?,
            downloadable: true,
            sha256: row.text("sha256")?.into(),
        })
    }
}

pub(super) async fn create<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    file: File,
    idempotency: Option<Idempotency>,
) -> Result<Made<File>, AccountsError> {
    let mut change = Change::begin(&pool, workspace, idempotency, file.created_at).await?;
    if let Some(made) = change.repeated().await? {
        return Ok(made);
    }
    let add = statement(ADD)
        .text(workspace)
        .text(file.id)
        .text(&file.filename)
        .text(&file.mime_type)
        .number(i64::try_from(file.size_bytes).unwrap_or(i64::MAX))
        .text(&file.sha256)
        .time(file.created_at);
    change.execute(add).await.map_err(DB::unavailable)?;
    change.finish(file).await
}

pub(super) async fn find<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: FileId,
) -> Result<Option<File>, StoreError> {
    let mut work = Work::reading(&pool).await?;
    one(&mut work, statement(GET).text(workspace).text(id)).await
}

pub(super) async fn delete<DB: Dialect>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    id: FileId,
) -> Result<bool, StoreError> {
    let mut work = Work::<DB>::reading(&pool).await?;
    // By itself it is committed when it is done.
    let gone = work.execute(statement(DELETE).text(workspace).text(id)).await;
    Ok(gone.map_err(DB::uncommitted)? > 0)
}
