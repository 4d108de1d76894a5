//! Uploaded files, as the API serves them.

use serde::{Deserialize, Serialize};

use crate::{FileId, Timestamp};

/// What is known of a file; its content is a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Which.
    pub id: FileId,
    /// Always `file`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As its uploader called it, without folders.
    pub filename: String,
    /// As its uploader said, or `application/octet-stream`.
    pub mime_type: String,
    /// Length.
    pub size_bytes: u64,
    /// Uploaded at.
    pub created_at: Timestamp,
    /// Always: whoever sees it may read it.
    pub downloadable: bool,
    /// Of its content. Not served.
    #[serde(skip)]
    pub sha256: String,
}
