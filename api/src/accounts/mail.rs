//! The agents of the accounts as the mail office sees them.

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::StoreError;
use perennial_mailbox::{Agents, Peer, Reception};
use perennial_schema::WorkspaceId;

use super::Accounts;

/// Who can be written to, by the accounts.
pub struct MailAgents(pub Arc<dyn Accounts>);

#[async_trait]
impl Agents for MailAgents {
    async fn reception(&self, workspace: WorkspaceId, name: &str) -> Result<Option<Reception>, StoreError> {
        let Some(agent) = self.0.agent_with_mail(workspace, name).await? else {
            return Ok(None);
        };
        let Some(desk) = agent.snapshot.mail.clone() else {
            return Ok(None);
        };
        let environment = self.0.environment(workspace, desk.environment_id).await?;
        Ok(Some(Reception {
            agent: agent.snapshot,
            desk,
            environment: environment.filter(|environment| environment.archived_at.is_none()),
        }))
    }

    async fn peers(&self, workspace: WorkspaceId, limit: u32) -> Result<Vec<Peer>, StoreError> {
        let agents = self.0.agents_with_mail(workspace, limit).await?;
        let mut peers: Vec<Peer> = agents
            .into_iter()
            .map(|agent| Peer {
                name: agent.snapshot.name,
                id: agent.snapshot.id,
                description: agent.snapshot.description,
            })
            .collect();
        // Of several with one name the first answers.
        peers.dedup_by(|later, first| later.name == first.name);
        Ok(peers)
    }
}
