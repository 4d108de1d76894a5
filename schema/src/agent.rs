//! Agent definitions (versioned) and the snapshot a session keeps.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Raw;
use crate::mail::MailDesk;
use crate::mcp::{McpPlace, McpServer};
use crate::tool::Policy;
use crate::{AgentId, Attachment, Timestamp};

/// A model and how to use it; always an object in responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// E.g. `claude-…`, `gpt-…`, `rehearsal-1`.
    pub id: String,
    /// `standard` or `fast`, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Raw>,
    /// Verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Raw>,
    /// Verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<Raw>,
}

/// Which brain runs the turns (our extension; default `native`). On the wire `native`, `claude-code`, `codex` or
/// `acp:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Harness {
    /// Our own loop against a model API.
    #[default]
    Native,
    /// The real Claude Code.
    ClaudeCode,
    /// The real Codex.
    Codex,
    /// An agent that speaks the Agent Client Protocol, by the name the server's configuration gives it.
    Acp(String),
}

impl fmt::Display for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::ClaudeCode => f.write_str("claude-code"),
            Self::Codex => f.write_str("codex"),
            Self::Acp(name) => write!(f, "acp:{name}"),
        }
    }
}

/// Not the name of a harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a harness is native, claude-code, codex or acp:NAME (NAME of 1 to 64 letters, digits, - and _)")]
pub struct NotAHarness;

impl FromStr for Harness {
    type Err = NotAHarness;

    fn from_str(text: &str) -> Result<Self, NotAHarness> {
        match text {
            "native" => Ok(Self::Native),
            "claude-code" => Ok(Self::ClaudeCode),
            "codex" => Ok(Self::Codex),
            _ => {
                let name = text.strip_prefix("acp:").ok_or(NotAHarness)?;
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let is_name = (1..=64).contains(&name.len()) && name.bytes().all(fits);
                is_name.then(|| Self::Acp(name.to_owned())).ok_or(NotAHarness)
            }
        }
    }
}

impl Serialize for Harness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Harness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A group of tools an agent has, filled out as responses show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Toolset {
    /// The built-in tools.
    #[serde(rename = "agent_toolset_20260401")]
    Agent {
        /// For tools without a config of their own.
        default_config: ToolDefaults,
        /// Per tool.
        configs: Vec<BuiltinConfig>,
    },
    /// Tools of an MCP server.
    #[serde(rename = "mcp_toolset")]
    Mcp {
        /// One of the agent's servers.
        mcp_server_name: String,
        /// For tools without a config of their own.
        default_config: ToolDefaults,
        /// Per tool.
        configs: Vec<McpToolConfig>,
    },
    /// Our extension: mail to other agents, sessions and queues.
    #[serde(rename = "mail_toolset")]
    Mail {
        /// For tools without a config of their own.
        default_config: ToolDefaults,
        /// Per tool.
        configs: Vec<BuiltinConfig>,
    },
    /// A client-side tool.
    #[serde(rename = "custom")]
    Custom {
        /// Tool name.
        name: String,
        /// What the model is told.
        description: String,
        /// JSON Schema, an object. A tree rather than raw text: internally tagged enums cannot carry raw JSON.
        input_schema: serde_json::Value,
    },
}

/// Defaults of a toolset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefaults {
    /// Offered to the model at all.
    pub enabled: bool,
    /// When asked for.
    pub permission_policy: Policy,
}

/// One built-in tool's config; `type` equals `name` (the union's discriminator).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltinConfig {
    /// Same as `name`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Tool name.
    pub name: String,
    /// Offered to the model at all.
    pub enabled: bool,
    /// When asked for.
    pub permission_policy: Policy,
}

/// One MCP tool's config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolConfig {
    /// Tool name.
    pub name: String,
    /// Offered to the model at all.
    pub enabled: bool,
    /// When asked for.
    pub permission_policy: Policy,
}

/// What a session keeps of an agent: everything its turns depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// Which agent.
    pub id: AgentId,
    /// Always `agent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which version of it.
    pub version: u64,
    /// Name.
    pub name: String,
    /// Model.
    pub model: ModelConfig,
    /// System prompt.
    pub system: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Tools.
    pub tools: Vec<Toolset>,
    /// MCP servers, verbatim.
    pub mcp_servers: Vec<Raw>,
    /// Skills, verbatim.
    pub skills: Vec<Raw>,
    /// Coordinator settings, verbatim.
    pub multiagent: Option<Raw>,
    /// Verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_identity: Option<Raw>,
    /// Our extension; left out when native.
    #[serde(default, skip_serializing_if = "is_native")]
    pub harness: Harness,
    /// How it takes mail; our extension. None: it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailDesk>,
    /// Our extension: the executors that its sessions have beside their environment's, the first of them for calls that name
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executors: Vec<Attachment>,
}

impl AgentSnapshot {
    /// One of its MCP servers.
    #[must_use]
    pub fn mcp_server(&self, name: &str) -> Option<McpServer> {
        let servers = self
            .mcp_servers
            .iter()
            .filter_map(|server| server.parse::<McpServer>().ok());
        servers.into_iter().find(|server| server.name == name)
    }

    /// Whether some of its tools are those of programs that are started where its sessions' tools run.
    #[must_use]
    pub fn starts_servers(&self) -> bool {
        self.tools.iter().any(|toolset| match toolset {
            Toolset::Mcp { mcp_server_name, .. } => self
                .mcp_server(mcp_server_name)
                .is_some_and(|server| matches!(server.place, McpPlace::Stdio(_))),
            _ => false,
        })
    }

    /// Without the servers that are such programs.
    #[must_use]
    pub fn without_programs(mut self) -> Self {
        self.mcp_servers.retain(|server| {
            let server = server.parse::<McpServer>();
            !server.is_ok_and(|server| matches!(server.place, McpPlace::Stdio(_)))
        });
        self
    }

    /// Without the variables of its servers, which are sealed for this workspace: for what leaves this server.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        for raw in &mut self.mcp_servers {
            if let Ok(McpServer {
                name,
                place: McpPlace::Stdio(mut server),
            }) = raw.parse::<McpServer>()
            {
                server.env.clear();
                let place = McpPlace::Stdio(server);
                *raw = Raw::of(&serde_json::to_value(McpServer { name, place }).unwrap_or_default());
            }
        }
        self
    }
}

fn is_native(harness: &Harness) -> bool {
    *harness == Harness::Native
}

/// An agent as the API serves it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agent {
    /// The definition.
    #[serde(flatten)]
    pub snapshot: AgentSnapshot,
    /// Free pairs.
    pub metadata: IndexMap<String, String>,
    /// First version's time.
    pub created_at: Timestamp,
    /// This version's time.
    pub updated_at: Timestamp,
    /// Archived agents take no new sessions.
    pub archived_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_program_is_told_does_not_leave() {
        let agent = json!({"type": "agent", "id": AgentId::from_uuid(uuid::Uuid::nil()), "version": 1, "name": "a",
            "model": {"id": "m"}, "system": null, "description": null, "skills": [], "multiagent": null,
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "b", "configs": [],
                "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}}}],
            "mcp_servers": [{"type": "url", "name": "a", "url": "https://a"},
                {"type": "stdio", "name": "b", "command": "c", "args": ["d"], "env": {"E": "sealed:f"}}]});
        let agent: AgentSnapshot = serde_json::from_value(agent).unwrap();
        assert!(agent.starts_servers() && !agent.clone().without_programs().starts_servers());
        assert_eq!(agent.clone().without_programs().mcp_servers.len(), 1);
        let left = agent.without_secrets().mcp_servers;
        let left: Vec<serde_json::Value> = left.iter().map(|server| server.parse().unwrap()).collect();
        assert_eq!(left[0]["url"], "https://a");
        assert_eq!((&left[1]["args"], &left[1]["env"]), (&json!(["d"]), &json!({})));
    }
}
