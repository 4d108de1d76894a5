//! Blobs in a table of the shared database: every node finds what any node stored.

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{Blobs, StoreError};
use perennial_schema::WorkspaceId;
use sqlx::Row as _;

use crate::log::postgres::{Desk, Script};

/// The table store; see [`crate::log::postgres::Postgres::blobs`].
#[derive(Clone)]
pub struct Postgres {
    desk: Desk,
}

impl Postgres {
    pub(crate) const fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

#[async_trait]
impl Blobs for Postgres {
    async fn put(&self, workspace: WorkspaceId, bytes: Bytes) -> Result<String, StoreError> {
        let name = super::name(&bytes);
        let sha256 = name.clone();
        let make = move || {
            let mut script = Script::new("INSERT INTO blobs (workspace_id, sha256, bytes) VALUES (");
            script
                .bind(workspace.uuid())
                .comma(sha256.as_str())
                .comma(bytes.as_ref())
                .sql(") ON CONFLICT DO NOTHING");
            script
        };
        self.desk.ask(make).await?;
        Ok(name)
    }

    async fn get(&self, workspace: WorkspaceId, sha256: &str) -> Result<Option<Bytes>, StoreError> {
        if !super::is_name(sha256) {
            return Ok(None);
        }
        let name = sha256.to_owned();
        let asked = name.clone();
        let make = move || {
            let mut script = Script::new("SELECT bytes FROM blobs WHERE workspace_id = ");
            script.bind(workspace.uuid()).sql(" AND sha256 = ").bind(asked.as_str());
            script
        };
        let rows = self.desk.ask(make).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let broken = |message: String| StoreError::Inconsistent {
            table: "blobs",
            key: name.clone(),
            message,
        };
        let bytes: Vec<u8> = row.try_get("bytes").map_err(|error| broken(error.to_string()))?;
        if super::name(&bytes) == name {
            return Ok(Some(Bytes::from(bytes)));
        }
        let message = "the row does not have the bytes its name promises: restore it from a backup";
        Err(broken(message.into()))
    }
}
