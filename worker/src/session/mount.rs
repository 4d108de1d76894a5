//! What the agent's MCP servers offer: asked before the model is, and again when one says that it changed.
//!
//! A server that is a program runs where the session's tools do: the machine may have to be made first, and its folder prepared, while
//! the log and the lease are watched like before any call.

use perennial_engine::kernel::CallLane;
use perennial_engine::ports::{Lane, Mounted};
use perennial_schema::agent::AgentSnapshot;

use super::prepare::told;
use super::{Session, Stop, newer};

impl Session {
    /// Has their tools among the others, once a drive. False when an interrupt came before that.
    pub(super) async fn mount(&mut self) -> Result<bool, Stop> {
        if self.mounted {
            return Ok(true);
        }
        let Some(mounted) = self.ask_servers().await? else {
            return Ok(false);
        };
        self.take(mounted);
        self.mounted = true;
        Ok(true)
    }

    /// The same once more, if one of them said that it changed. A harness that knows other tools than there are now is closed.
    pub(super) async fn mount_again(&mut self) -> Result<(), Stop> {
        if !self.ports.router.tools_changed(self.key) {
            return Ok(());
        }
        let Some(mounted) = self.ask_servers().await? else {
            return Ok(());
        };
        let before = self.tools.clone();
        self.tools.retain(|tool| !matches!(tool.lane, Lane::Mcp { .. }));
        self.take(mounted);
        if self.tools != before {
            self.close_harness().await;
        }
        Ok(())
    }

    fn take(&mut self, mounted: Mounted) {
        for tool in mounted.tools {
            if self.tools.iter().all(|known| known.name != tool.name) {
                self.tools.push(tool);
            }
        }
        self.troubles.extend(mounted.troubles);
    }

    /// None when an interrupt came before they answered.
    async fn ask_servers(&mut self) -> Result<Option<Mounted>, Stop> {
        let Some(agent) = self.reachable().await? else {
            return Ok(None);
        };
        let (router, key, environment) = (self.ports.router.clone(), self.key, self.row.environment.clone());
        let mut asking = std::pin::pin!(router.mounted(key, &agent, &environment));
        loop {
            tokio::select! {
                biased;
                mounted = &mut asking => return Ok(Some(mounted)),
                () = self.watch.lost.cancelled() => return Err(Stop::Evicted),
                () = self.drain.cancelled() => return Err(Stop::Draining),
                _ = newer(&mut self.notices, &mut self.watch.head, self.state.seq) => {}
            }
            self.catch_up().await?;
            if self.state.interrupt.is_some() {
                return Ok(None);
            }
        }
    }

    /// The agent, without the servers that cannot be started because the folder is not ready.
    async fn reachable(&mut self) -> Result<Option<AgentSnapshot>, Stop> {
        let agent = self.row.agent.clone();
        if !agent.starts_servers() || !self.needs_preparation() {
            return Ok(Some(agent));
        }
        let Some(placed) = self.placed(None).await? else {
            return Ok(None);
        };
        Ok(Some(match placed {
            Ok(_) => agent,
            Err(unready) => {
                self.troubles
                    .push(told(&format!("The MCP servers are not started: {}", unready.reason())));
                agent.without_programs()
            }
        }))
    }
}

/// Whether a call is one of a server's tools.
pub(super) const fn is_mounted(lane: &CallLane) -> bool {
    matches!(lane, CallLane::Mcp { .. })
}
