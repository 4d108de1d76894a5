//! Connections to the loopback ports of a machine.

use perennial_schema::stream::Purpose;
use perennial_schema::{ExecutorId, WorkspaceId};

use super::{NoStream, Stream};
use crate::tunnel::Tunnels;

impl Tunnels {
    /// Bytes to and from whoever listens on a port of the machine.
    ///
    /// # Errors
    /// See [`NoStream`].
    pub async fn forward(&self, workspace: WorkspaceId, executor: ExecutorId, port: u16) -> Result<Stream, NoStream> {
        let (_, stream) = self.open(workspace, executor, Purpose::Forward { port }).await?;
        Ok(stream)
    }
}
