//! Terminals of a machine.

use perennial_schema::stream::{Purpose, TerminalSize};
use perennial_schema::{ExecutorId, WorkspaceId};

use super::{NoStream, Stream};
use crate::tunnel::Tunnels;

impl Tunnels {
    /// Attaches to a terminal, which is made if there is none of that name. [`crate::terminal`] is spoken on the stream.
    ///
    /// # Errors
    /// See [`NoStream`].
    pub async fn terminal(
        &self,
        workspace: WorkspaceId,
        executor: ExecutorId,
        name: String,
        size: TerminalSize,
    ) -> Result<Stream, NoStream> {
        let (_, stream) = self.open(workspace, executor, Purpose::Terminal { name, size }).await?;
        Ok(stream)
    }
}
