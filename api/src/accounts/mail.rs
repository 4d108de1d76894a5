//! The agents of the accounts as the mail office sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::StoreError;
use perennial_mailbox::{Agents, Peer, Reception};
use perennial_schema::WorkspaceId;
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::Raw;
use serde_json::Value;

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
        let mut peers = Vec::with_capacity(agents.len());
        let mut environments = BTreeMap::new();
        for AgentSnapshot {
            name,
            id,
            description,
            skills,
            mail,
            executors,
            ..
        } in agents.into_iter().map(|agent| agent.snapshot)
        {
            let environment = match mail.map(|desk| desk.environment_id) {
                None => None,
                Some(id) => match environments.get(&id) {
                    Some(kind) => *kind,
                    None => {
                        let environment = self.0.environment(workspace, id).await?;
                        let there = environment.filter(|environment| environment.archived_at.is_none());
                        let kind = there.map(|environment| kind_of(&environment.config));
                        environments.insert(id, kind);
                        kind
                    }
                },
            };
            let machines = executors.into_iter().map(|attached| attached.name);
            peers.push(Peer {
                name,
                id,
                description,
                skills: skills.iter().filter_map(skill).collect(),
                executors: environment.map(str::to_owned).into_iter().chain(machines).collect(),
                receives: environment.is_some(),
            });
        }
        // Of several with one name the first answers.
        peers.dedup_by(|later, first| later.name == first.name);
        Ok(peers)
    }
}

const fn kind_of(environment: &EnvironmentConfig) -> &'static str {
    match environment {
        EnvironmentConfig::Cloud { .. } => "cloud",
        EnvironmentConfig::SelfHosted => "self_hosted",
        EnvironmentConfig::Local { .. } => "local",
    }
}

/// The id of a skill; what has none is not shown.
fn skill(given: &Raw) -> Option<String> {
    let skill: Value = given.parse().ok()?;
    skill["skill_id"].as_str().map(str::to_owned)
}
