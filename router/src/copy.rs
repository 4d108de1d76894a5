//! Workspace folders of forks, and frames that go to everyone.

use perennial_schema::frame::ToExecutor;
use perennial_schema::{ExecutorId, SessionId, WorkspaceId};
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::limits;
use crate::link::Link;

impl Exchange {
    /// Copies a workspace folder where it is; a session that was placed nowhere may have one where new calls go.
    pub(crate) async fn copy(&self, from: SessionId, to: SessionId, at: Option<ExecutorId>) -> Result<(), String> {
        let link = match at {
            Some(at) => self.home_line_of(at).await,
            None => self.hands().await,
        };
        let link = link.ok_or("the executor that has the workspace is not attached")?;
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

    /// Tells whoever has a session's workspace, or everyone, that it is gone.
    pub(crate) async fn tell_gone(&self, session: SessionId, at: Option<ExecutorId>) {
        let frame = ToExecutor::Forget { session };
        match at.map(|at| self.live(at)) {
            Some(Some(link)) => drop(link.send(frame).await),
            // Away: its shell ends with its idle time.
            Some(None) => {}
            None => self.tell_all(&frame, None).await,
        }
    }

    /// Sends a frame that needs no answer on every link that may work for a workspace; without one, on those of this host.
    pub(crate) async fn tell_all(&self, frame: &ToExecutor, workspace: Option<WorkspaceId>) {
        let concerned = |link: &Link| workspace.map_or(link.guest.is_none(), |workspace| link.serves(workspace));
        for link in self.all_links().into_iter().filter(|link| concerned(link)) {
            // A link that is gone needs no telling: its executor learns from the next lease's epoch or the next forget.
            let _ = link.send(frame.clone()).await;
        }
    }
}
