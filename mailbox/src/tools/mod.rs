//! Mail as tools of a session: who is there, write to them, read what came. An answer is not waited for: it wakes the session.

mod cancel_task;
mod delegate_task;
mod list_agents;
mod read_mail;
mod send_message;

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{HouseTools, Lane, Order, ToolSpec, house_choice};
use perennial_schema::agent::{AgentSnapshot, Toolset};
use perennial_schema::event::{Permission, Raw};
use perennial_schema::mail::MailTool;
use perennial_schema::tool::{Outcome, Policy};
use perennial_schema::{TraceParent, span_of};
use serde::de::DeserializeOwned;

use crate::office::Office;

/// The mail tools of an office.
pub struct MailTools(pub Arc<Office>);

#[async_trait]
impl HouseTools for MailTools {
    fn offered(&self, agent: &AgentSnapshot) -> Vec<ToolSpec> {
        let toolsets = agent.tools.iter().filter_map(|toolset| match toolset {
            Toolset::Mail {
                default_config,
                configs,
            } => Some((default_config, configs)),
            _ => None,
        });
        let offered = toolsets.flat_map(|(defaults, configs)| {
            MailTool::ALL.into_iter().filter_map(move |tool| {
                let own = configs.iter().find(|config| config.name == tool.name());
                let (enabled, policy) = own.map_or((defaults.enabled, defaults.permission_policy), |config| {
                    (config.enabled, config.permission_policy)
                });
                enabled.then(|| spec(tool, policy))
            })
        });
        offered.collect()
    }

    async fn run(&self, order: &Order) -> Outcome {
        let done = match MailTool::by_name(&order.tool) {
            Some(MailTool::ListAgents) => list_agents::run(&self.0, order).await,
            Some(MailTool::SendMessage) => send_message::run(&self.0, order).await,
            Some(MailTool::ReadMail) => read_mail::run(&self.0, order).await,
            Some(MailTool::DelegateTask) => delegate_task::run(&self.0, order).await,
            Some(MailTool::CancelTask) => cancel_task::run(&self.0, order).await,
            None => Err(format!("{:?} is no tool of the house", order.tool)),
        };
        match done {
            Ok(text) => Outcome::text(text, false),
            Err(problem) => Outcome::text(problem, true),
        }
    }
}

fn spec(tool: MailTool, policy: Policy) -> ToolSpec {
    let permission = match policy {
        // Mail changes nothing on any machine.
        Policy::AlwaysAllow | Policy::Auto => Permission::Allow,
        Policy::AlwaysAsk => Permission::Ask,
        Policy::Deny => Permission::Deny,
    };
    ToolSpec {
        name: tool.name().to_owned(),
        description: tool.description().to_owned(),
        input_schema: tool.input_schema(),
        lane: Lane::Executor,
        permission,
        effect: tool.effect(),
        choices: vec![house_choice(permission)],
    }
}

/// The span of a call, if its session is traced: what it sends goes on in it.
fn trace(order: &Order) -> Option<TraceParent> {
    let here = perennial_telemetry::here(order.key.session)?;
    Some(here.with_span(span_of(order.call_id.uuid())))
}

/// The input a model gave.
fn input<T: DeserializeOwned>(raw: &Raw) -> Result<T, String> {
    serde_json::from_str(raw.text()).map_err(|error| format!("the input does not fit: {error}"))
}
