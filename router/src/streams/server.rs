//! Programs that are spoken to over their standard input and output, started where a session's tools run.

use perennial_engine::ports::{HOUSE, SessionKey};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::Workspace;
use perennial_schema::stream::{Purpose, ServerStart, Unopened};

use super::{NoStream, Stream};
use crate::dispatch::workspace_of;
use crate::exchange::Exchange;
use crate::link::Link;
use crate::policy::Reach;
use crate::sandbox::{InUse, Patience};

impl Exchange {
    /// Starts one. Its input travels on the stream as it is; [`perennial_tunnel::server`] says what comes back. It ends with the
    /// stream, and with its sandbox, which does not run for its sake alone: see [`Self::held`].
    ///
    /// # Errors
    /// See [`NoStream`].
    pub(crate) async fn start_server(
        &self,
        key: SessionKey,
        environment: &EnvironmentConfig,
        start: impl FnOnce(Workspace) -> ServerStart,
    ) -> Result<Stream, NoStream> {
        let placement = self.place_call(key, environment).await;
        let executor = placement.map_err(NoStream::Unreached)?.executor_id;
        if executor == HOUSE {
            return Err(NoStream::Unreached("no program runs there".into()));
        }
        let purpose = |link: &Link| {
            // A machine that dialled in has an owner, whose terms say it. Of this host nobody is asked before the program runs.
            if link.guest.is_none() && self.reach_of(Some(link)) == Reach::Host {
                return Err(NoStream::refused(
                    Unopened::NotOffered,
                    "nothing contains programs on this host: `--allow-local` lets them run all the same",
                ));
            }
            Ok(Purpose::Server(Box::new(start(workspace_of(environment, Some(link))))))
        };
        let (_, mut stream) = self.open_stream(key.workspace, executor, purpose).await?;
        stream.in_use = None;
        Ok(stream)
    }

    /// Has the sandbox run where such programs of a session are, if there is one, for as long as this is kept.
    pub(crate) async fn held(&self, key: SessionKey, environment: &EnvironmentConfig) -> Option<InUse> {
        self.sandboxes_of(environment)?;
        // Who wants the program then is told why there is none.
        let placement = self.place_call(key, environment).await.ok()?;
        let (_, in_use) = self
            .awake((placement.executor_id, key.workspace), Patience::ToCall)
            .await?;
        Some(in_use)
    }
}
