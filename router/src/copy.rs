//! Workspace folders of forks, and frames that go to everyone.

use perennial_schema::SessionId;
use perennial_schema::frame::ToExecutor;
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::limits;

impl Exchange {
    /// Copies a workspace folder where new calls go.
    pub(crate) async fn copy(&self, from: SessionId, to: SessionId) -> Result<(), String> {
        let Some(link) = self.hands().await else {
            return Err("no executor is attached".into());
        };
        let copied = link
            .pending()
            .wait_copy(to)
            .map_err(|_| "the executor cannot take this copy now".to_owned())?;
        let sent = link.send(ToExecutor::CopyWorkspace { from, to }).await;
        sent.map_err(|_| "the executor went away".to_owned())?;
        match timeout(limits::COPY_WAIT, copied).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(error))) => Err(error),
            Ok(Err(_)) => Err("the executor went away during the copy".into()),
            Err(_) => Err("the copy took too long".into()),
        }
    }

    /// Sends a frame that needs no answer on every link.
    pub(crate) async fn tell_all(&self, frame: &ToExecutor) {
        for link in self.all_links() {
            // A link that is gone needs no telling: its executor learns from the next lease's epoch or the next forget.
            let _ = link.send(frame.clone()).await;
        }
    }
}
