//! The exchange's calls to MCP servers: behind the guard of whatever leaves this process, and within the networking of a session's
//! environment.

use std::sync::Arc;

use perennial_egress::{Allowed, Client};
use perennial_engine::ports::{CallError, McpApprovals, McpTool, Mounted, Order, Seals, SessionKey, Settled};
use perennial_schema::agent::{AgentSnapshot, Toolset};
use perennial_schema::environment::{EnvironmentConfig, Networking};
use perennial_schema::tool::Outcome;
use tokio::time::sleep;

use super::Mounts;
use crate::exchange::Exchange;
use crate::{limits, web};

/// How servers of a session are reached.
pub(crate) struct Way {
    /// Those on the web.
    pub(super) web: Result<Client, String>,
    /// Which of them may be.
    pub(super) allowed: Allowed,
    /// Where those are started that are programs.
    pub(super) environment: EnvironmentConfig,
}

impl Exchange {
    /// From now on, MCP servers of agents are reached from here, and what they say of their tools is remembered there. What is told
    /// to those that are started was sealed.
    pub fn mount(self: &Arc<Self>, approvals: Arc<dyn McpApprovals>, seals: Arc<dyn Seals>) {
        let mounts = Arc::new(Mounts::new(approvals, seals, Arc::downgrade(self)));
        if self.mounts.set(mounts.clone()).is_err() {
            // Said once, by whoever starts this process.
            return;
        }
        let closing = self.closing();
        self.watch_over(async move {
            loop {
                tokio::select! {
                    () = closing.cancelled() => return mounts.close().await,
                    () = sleep(limits::MCP_SWEEP) => mounts.sweep(),
                }
            }
        });
    }

    pub(crate) async fn mounted_of(
        &self,
        key: SessionKey,
        agent: &AgentSnapshot,
        environment: &EnvironmentConfig,
    ) -> Mounted {
        let names = |toolset: &Toolset| matches!(toolset, Toolset::Mcp { .. });
        let Some(mounts) = self.mounts.get().filter(|_| agent.tools.iter().any(names)) else {
            return Mounted::default();
        };
        mounts.mounted(key, agent, &self.way(environment.clone())).await
    }

    fn way(&self, environment: EnvironmentConfig) -> Way {
        Way {
            web: self.web().cloned(),
            allowed: allowed(&environment),
            environment,
        }
    }

    pub(crate) async fn call_mcp(&self, order: Order, tool: McpTool) -> Result<Outcome, CallError> {
        let Some(mounts) = self.mounts.get() else {
            return Err(CallError::NotStarted("this process reaches no MCP servers".into()));
        };
        let way = self.way(order.environment.clone());
        mounts.call(order, tool, way).await
    }

    pub(crate) async fn settle_mcp(&self, order: &Order) -> Result<Settled, CallError> {
        match self.mounts.get() {
            Some(mounts) => mounts.settle(order.key, order.call_id).await,
            None => Err(CallError::Unknown("this process reaches no MCP servers".into())),
        }
    }
}

/// Which hosts an agent's servers may be on.
fn allowed(environment: &EnvironmentConfig) -> Allowed {
    match environment {
        EnvironmentConfig::Cloud {
            networking: Networking::Limited {
                allow_mcp_servers: true,
                ..
            },
            ..
        } => Allowed::All,
        EnvironmentConfig::Cloud { networking, .. } => web::allowed(networking),
        EnvironmentConfig::Local { .. } | EnvironmentConfig::SelfHosted => Allowed::All,
    }
}
