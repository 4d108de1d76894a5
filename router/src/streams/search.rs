//! Files of a machine by their names and by their text, and its repositories.

use perennial_schema::search::{Found, MAX_FOUND_BYTES, Repositories, Search};
use perennial_schema::stream::Purpose;
use perennial_schema::{ExecutorId, WorkspaceId};

use super::NoStream;
use crate::tunnel::Tunnels;

impl Tunnels {
    /// What was found.
    ///
    /// # Errors
    /// See [`NoStream`]. What is no answer to that counts as lost.
    pub async fn search(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        search: Search,
    ) -> Result<Found, NoStream> {
        self.look(workspace, executor, Purpose::Search(search), MAX_FOUND_BYTES)
            .await
    }

    /// Which repositories are beneath a folder.
    ///
    /// # Errors
    /// As above.
    pub async fn list_repositories(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        path: String,
    ) -> Result<Repositories, NoStream> {
        let purpose = Purpose::ListRepositories { path };
        self.look(workspace, executor, purpose, MAX_FOUND_BYTES).await
    }
}
