//! Blobs: content-addressed bytes too large for an event; written before the event that names them (I16).

use async_trait::async_trait;
use bytes::Bytes;
use perennial_schema::WorkspaceId;

use super::StoreError;

/// Put and get bytes by their SHA-256.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores bytes durably; returns their SHA-256, hex. Storing the same bytes twice is one blob.
    async fn put(&self, workspace: WorkspaceId, bytes: Bytes) -> Result<String, StoreError>;

    /// The bytes, or none.
    async fn get(&self, workspace: WorkspaceId, sha256: &str) -> Result<Option<Bytes>, StoreError>;
}
