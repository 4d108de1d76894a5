//! Where sessions stand, for the bus that looks instead of listening.

use async_trait::async_trait;
use perennial_engine::ports::{SessionKey, StoreError};
use uuid::Uuid;

use super::Postgres;
use super::rows::{self, Cells};
use super::script::Script;
use crate::bus::polled::Heads;

#[async_trait]
impl Heads for Postgres {
    async fn heads(&self, keys: &[SessionKey]) -> Result<Vec<(SessionKey, u64)>, StoreError> {
        let (workspaces, sessions): (Vec<Uuid>, Vec<Uuid>) = keys
            .iter()
            .map(|key| (key.workspace.uuid(), key.session.uuid()))
            .unzip();
        let make = move || {
            let mut script = Script::new("SELECT s.workspace_id, s.id, s.head FROM unnest(");
            script
                .bind(workspaces.clone())
                .comma(sessions.clone())
                .sql(") AS k (workspace_id, id) JOIN sessions s ON s.workspace_id = k.workspace_id AND s.id = k.id");
            script
        };
        let found = self.inner.logs.ask(make).await?;
        found
            .iter()
            .map(|row| {
                let cells = Cells {
                    row,
                    table: "sessions",
                    key: String::from("heads"),
                };
                Ok((rows::key(&cells)?, cells.count("head")?))
            })
            .collect()
    }
}
