//! What an agent's servers offer to its model: asked side by side, under the agent's policies. A server that cannot be asked, and a
//! tool that is not what was approved, are troubles for people; the turn goes on without them.

use futures_util::future::join_all;
use perennial_engine::ports::{ApprovedTool, Lane, Mounted, SessionKey, ToolSpec, house_choice};
use perennial_schema::agent::{AgentSnapshot, McpToolConfig, ToolDefaults, Toolset};
use perennial_schema::event::{ErrorDetail, ErrorKind, Permission, RetryStatus};
use perennial_schema::mcp::{McpServer, McpToolCard, tool_name};
use perennial_schema::tool::{Effect, Policy};

use super::Mounts;
use super::line::Trouble;
use super::mounts::Connected;
use super::way::Way;

/// A toolset with its server.
struct Wanted<'a> {
    server: McpServer,
    defaults: &'a ToolDefaults,
    configs: &'a [McpToolConfig],
}

impl Mounts {
    /// The tools of the servers that the agent's toolsets name.
    pub(crate) async fn mounted(&self, key: SessionKey, agent: &AgentSnapshot, way: &Way) -> Mounted {
        let asked = wanted(agent).map(|wanted| async move {
            let connected = self.connected(key, &wanted.server.place, way).await;
            (wanted, connected)
        });
        let mut mounted = Mounted::default();
        for (wanted, connected) in join_all(asked).await {
            match connected {
                Ok(connected) => wanted.offer(&connected, &mut mounted),
                Err(trouble) => mounted.troubles.push(trouble.told(&wanted.server.name)),
            }
        }
        mounted
    }
}

fn wanted(agent: &AgentSnapshot) -> impl Iterator<Item = Wanted<'_>> {
    agent.tools.iter().filter_map(|toolset| match toolset {
        Toolset::Mcp {
            mcp_server_name,
            default_config,
            configs,
        } => Some(Wanted {
            server: agent.mcp_server(mcp_server_name)?,
            defaults: default_config,
            configs,
        }),
        _ => None,
    })
}

impl Wanted<'_> {
    fn offer(&self, connected: &Connected, mounted: &mut Mounted) {
        let server = &self.server.name;
        if let Some(left_out) = connected.listed.left_out.first() {
            let reason = format!("some of its tools are not taken: {left_out}");
            mounted.troubles.push(kept_away(server, reason));
        }
        for card in &connected.listed.tools {
            let config = self.configs.iter().find(|config| config.name == card.name);
            let (enabled, policy) = config.map_or((self.defaults.enabled, self.defaults.permission_policy), |config| {
                (config.enabled, config.permission_policy)
            });
            if !enabled {
                continue;
            }
            match refusal(&connected.approved, card) {
                None => mounted.tools.push(spec(server, card, policy)),
                Some(reason) => mounted.troubles.push(kept_away(server, reason)),
            }
        }
    }
}

/// Why a tool is not let in as it is now.
pub(super) fn refusal(approved: &[ApprovedTool], card: &McpToolCard) -> Option<String> {
    match approved.iter().find(|tool| tool.card.name == card.name) {
        Some(tool) if tool.changed.is_none() && tool.card == *card => None,
        Some(tool) => Some(format!(
            "its tool {:?} is not described as it was when it was approved; look at it, and let it in with `perennial mcp \
             approve {}`",
            card.name, tool.id
        )),
        None => Some(format!("its tool {:?} is one too many to be remembered", card.name)),
    }
}

fn kept_away(server: &str, reason: String) -> ErrorDetail {
    let trouble = Trouble {
        kind: ErrorKind::UnknownError,
        reason,
    };
    ErrorDetail {
        kind: trouble.kind,
        message: format!(
            "Of MCP server {server:?} not everything is offered: {}.",
            trouble.reason
        ),
        retry_status: RetryStatus::Exhausted,
        mcp_server_name: Some(server.to_owned()),
    }
}

fn spec(server: &str, card: &McpToolCard, policy: Policy) -> ToolSpec {
    let effect = effect(card);
    let permission = match policy {
        Policy::AlwaysAllow => Permission::Allow,
        Policy::AlwaysAsk => Permission::Ask,
        Policy::Deny => Permission::Deny,
        Policy::Auto if effect == Effect::Read => Permission::Allow,
        Policy::Auto => Permission::Ask,
    };
    ToolSpec {
        name: tool_name(server, &card.name),
        description: card.description.clone(),
        input_schema: card.input_schema.clone(),
        lane: Lane::Mcp {
            server: server.to_owned(),
            tool: card.name.clone(),
        },
        permission,
        effect,
        choices: vec![house_choice(permission)],
    }
}

/// What its server says of repeating it; nothing said means that it may not be.
fn effect(card: &McpToolCard) -> Effect {
    let says = |hint: &str| {
        let hints = card.annotations.as_ref();
        hints
            .and_then(|hints| hints.get(hint))
            .and_then(serde_json::Value::as_bool)
            == Some(true)
    };
    match (says("readOnlyHint"), says("idempotentHint")) {
        (true, _) => Effect::Read,
        (false, true) => Effect::Idempotent,
        (false, false) => Effect::Once,
    }
}
