//! Folders of a machine, looked at.

use perennial_schema::folder::{Listing, MAX_LISTING_BYTES};
use perennial_schema::stream::Purpose;
use perennial_schema::{ExecutorId, WorkspaceId};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::NoStream;
use crate::limits;
use crate::tunnel::Tunnels;

impl Tunnels {
    /// What is in a folder.
    ///
    /// # Errors
    /// See [`NoStream`]. What is no listing counts as lost.
    pub async fn list_folder(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        path: String,
    ) -> Result<Listing, NoStream> {
        let purpose = Purpose::ListFolder { path };
        self.look(workspace, executor, purpose, MAX_LISTING_BYTES).await
    }

    /// An answer that is JSON, of at most so many bytes.
    pub(super) async fn look<T: DeserializeOwned>(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        purpose: Purpose,
        most: u64,
    ) -> Result<T, NoStream> {
        let (bytes, stream) = self.open(workspace, executor, purpose).await?;
        let bytes = bytes.filter(|bytes| *bytes <= most).ok_or(NoStream::Lost)?;
        let mut text = Vec::new();
        let read = timeout(limits::WORD_WAIT, stream.take(bytes).read_to_end(&mut text)).await;
        read.map_err(|_| NoStream::Lost)?.map_err(|_| NoStream::Lost)?;
        serde_json::from_slice(&text).map_err(|_| NoStream::Lost)
    }
}
