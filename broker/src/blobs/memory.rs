//! Blobs without a disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{Blobs, StoreError};
use perennial_schema::WorkspaceId;

/// The memory store.
#[derive(Debug, Default)]
pub struct Memory {
    blobs: Mutex<HashMap<(WorkspaceId, String), Bytes>>,
}

#[async_trait]
impl Blobs for Memory {
    async fn put(&self, workspace: WorkspaceId, bytes: Bytes) -> Result<String, StoreError> {
        let name = super::name(&bytes);
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert((workspace, name.clone()), bytes);
        Ok(name)
    }

    async fn get(&self, workspace: WorkspaceId, sha256: &str) -> Result<Option<Bytes>, StoreError> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(blobs.get(&(workspace, sha256.to_owned())).cloned())
    }
}
