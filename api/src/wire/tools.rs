//! Tools and skills of an agent: checked, and filled out the way responses show them.
//!
//! A policy nobody named is stored and served as `auto`: the router lets it run where hands are contained and asks where they
//! are not. Tools of MCP servers ask unless told otherwise.

use std::collections::HashSet;

use perennial_schema::agent::{BuiltinConfig, McpToolConfig, ToolDefaults, Toolset};
use perennial_schema::event::Raw;
use perennial_schema::limits::{NAME_CHARS, TOOLS};
use perennial_schema::mail::MailTool;
use perennial_schema::tool::{Builtin, Policy};
use serde::Deserialize;
use serde_json::Value;

use super::{count, length};
use crate::body::part;
use crate::error::ApiError;
use crate::query::kind_of;

/// Built-in tools of the adopted API that this server does not have; shown as not enabled.
const ABSENT: [&str; 1] = ["web_search"];
/// One that is there for agents that name it, and for no other: not every agent is to bring in what strangers write.
const WEB_FETCH: &str = "web_fetch";
const TOOLSETS: &str = "agent_toolset_20260401, mcp_toolset, mail_toolset or custom";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultsInput {
    enabled: Option<bool>,
    permission_policy: Option<Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentToolsetInput {
    #[serde(rename = "type")]
    _kind: String,
    default_config: Option<DefaultsInput>,
    configs: Option<Vec<ToolConfigInput>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct McpToolsetInput {
    #[serde(rename = "type")]
    _kind: String,
    mcp_server_name: String,
    default_config: Option<DefaultsInput>,
    configs: Option<Vec<ToolConfigInput>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolConfigInput {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    enabled: Option<bool>,
    permission_policy: Option<Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomInput {
    #[serde(rename = "type")]
    _kind: String,
    name: String,
    description: String,
    input_schema: Value,
}

/// Checks `tools` against the servers they may name.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn tools(path: &str, given: &[Value], servers: &[Raw]) -> Result<Vec<Toolset>, ApiError> {
    count(path, given.len(), TOOLS)?;
    let servers = server_names(servers);
    let toolsets: Vec<Toolset> = given
        .iter()
        .enumerate()
        .map(|(at, value)| toolset(&format!("{path}[{at}]"), value, &servers))
        .collect::<Result<_, _>>()?;
    no_doubles(path, &toolsets)?;
    Ok(toolsets)
}

fn toolset(path: &str, value: &Value, servers: &HashSet<String>) -> Result<Toolset, ApiError> {
    match value.get("type").and_then(Value::as_str) {
        Some("agent_toolset_20260401") => agent_toolset(path, value),
        Some("mcp_toolset") => mcp_toolset(path, value, servers),
        Some("mail_toolset") => mail_toolset(path, value),
        Some("custom") => custom(path, value),
        Some(other) => {
            let other: String = other.chars().take(60).collect();
            Err(ApiError::field(
                format!("{path}.type"),
                format!("{other:?} is not known; expected {TOOLSETS}"),
            ))
        }
        None if value.is_object() => Err(ApiError::field(
            format!("{path}.type"),
            format!("missing; expected {TOOLSETS}"),
        )),
        None => Err(ApiError::field(
            path,
            format!("expected an object, not {}", kind_of(value)),
        )),
    }
}

fn agent_toolset(path: &str, value: &Value) -> Result<Toolset, ApiError> {
    let input: AgentToolsetInput = part(value, path)?;
    let default_config = defaults(input.default_config, Policy::Auto);
    let given = input.configs.unwrap_or_default();
    let mut seen = HashSet::new();
    for (at, config) in given.iter().enumerate() {
        check_builtin(&format!("{path}.configs[{at}]"), config)?;
        if !seen.insert(config.name.as_str()) {
            return Err(ApiError::field(
                format!("{path}.configs[{at}].name"),
                format!("{:?} is there twice", config.name),
            ));
        }
    }
    let filled = |name: &str, absent: bool| {
        let config = given.iter().find(|config| config.name == name);
        let enabled = config
            .and_then(|config| config.enabled)
            .unwrap_or(default_config.enabled);
        BuiltinConfig {
            kind: name.to_owned(),
            name: name.to_owned(),
            enabled: enabled && !absent,
            permission_policy: config
                .and_then(|config| config.permission_policy)
                .unwrap_or(default_config.permission_policy),
        }
    };
    let mut configs: Vec<BuiltinConfig> = Builtin::ALL.iter().map(|tool| filled(tool.name(), false)).collect();
    let named = given
        .iter()
        .any(|config| config.name == WEB_FETCH && config.enabled == Some(true));
    configs.push(filled(WEB_FETCH, !named));
    configs.extend(ABSENT.iter().map(|name| filled(name, true)));
    Ok(Toolset::Agent {
        default_config,
        configs,
    })
}

fn check_builtin(path: &str, config: &ToolConfigInput) -> Result<(), ApiError> {
    if config.kind.as_ref().is_some_and(|kind| *kind != config.name) {
        return Err(ApiError::field(format!("{path}.type"), "must equal name"));
    }
    if ABSENT.contains(&config.name.as_str()) {
        if config.enabled == Some(true) {
            return Err(ApiError::field(
                format!("{path}.name"),
                format!(
                    "{} is not supported yet by this server; leave it out or set enabled to false",
                    config.name
                ),
            ));
        }
    } else if Builtin::by_name(&config.name).is_none() && config.name != WEB_FETCH {
        let ours = Builtin::ALL.iter().map(|tool| tool.name());
        let names: Vec<&str> = ours.chain([WEB_FETCH]).chain(ABSENT).collect();
        let name: String = config.name.chars().take(60).collect();
        return Err(ApiError::field(
            format!("{path}.name"),
            format!("{name:?} is not a built-in tool; expected one of {}", names.join(", ")),
        ));
    }
    Ok(())
}

fn mcp_toolset(path: &str, value: &Value, servers: &HashSet<String>) -> Result<Toolset, ApiError> {
    let input: McpToolsetInput = part(value, path)?;
    if !servers.contains(&input.mcp_server_name) {
        let name: String = input.mcp_server_name.chars().take(60).collect();
        return Err(ApiError::field(
            format!("{path}.mcp_server_name"),
            format!("no server {name:?} in mcp_servers"),
        ));
    }
    let default_config = defaults(input.default_config, Policy::AlwaysAsk);
    let mut configs = Vec::new();
    for (at, config) in input.configs.unwrap_or_default().into_iter().enumerate() {
        if config.kind.is_some() {
            return Err(ApiError::field(format!("{path}.configs[{at}].type"), "unknown field"));
        }
        length(&format!("{path}.configs[{at}].name"), &config.name, 1, NAME_CHARS)?;
        configs.push(McpToolConfig {
            name: config.name,
            enabled: config.enabled.unwrap_or(default_config.enabled),
            permission_policy: config.permission_policy.unwrap_or(default_config.permission_policy),
        });
    }
    Ok(Toolset::Mcp {
        mcp_server_name: input.mcp_server_name,
        default_config,
        configs,
    })
}

fn mail_toolset(path: &str, value: &Value) -> Result<Toolset, ApiError> {
    let input: AgentToolsetInput = part(value, path)?;
    let default_config = defaults(input.default_config, Policy::Auto);
    let given = input.configs.unwrap_or_default();
    let known = MailTool::ALL.map(MailTool::name);
    if let Some(at) = given.iter().position(|config| !known.contains(&config.name.as_str())) {
        let expected = known.join(", ");
        return Err(ApiError::field(
            format!("{path}.configs[{at}].name"),
            format!("is no mail tool; expected one of {expected}"),
        ));
    }
    let filled = known.map(|name| {
        let config = given.iter().find(|config| config.name == name);
        BuiltinConfig {
            kind: name.to_owned(),
            name: name.to_owned(),
            enabled: config
                .and_then(|config| config.enabled)
                .unwrap_or(default_config.enabled),
            permission_policy: config
                .and_then(|config| config.permission_policy)
                .unwrap_or(default_config.permission_policy),
        }
    });
    Ok(Toolset::Mail {
        default_config,
        configs: filled.into(),
    })
}

fn defaults(given: Option<DefaultsInput>, policy: Policy) -> ToolDefaults {
    let given = given.unwrap_or_default();
    ToolDefaults {
        enabled: given.enabled.unwrap_or(true),
        permission_policy: given.permission_policy.unwrap_or(policy),
    }
}

fn custom(path: &str, value: &Value) -> Result<Toolset, ApiError> {
    let input: CustomInput = part(value, path)?;
    let name = input.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(ApiError::field(
            format!("{path}.name"),
            "must match [A-Za-z0-9_-]{1,64}",
        ));
    }
    if input.input_schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(ApiError::field(
            format!("{path}.input_schema"),
            "must be a JSON Schema with \"type\": \"object\"",
        ));
    }
    Ok(Toolset::Custom {
        name,
        description: input.description,
        input_schema: input.input_schema,
    })
}

/// A model must be able to tell tools apart by name.
fn no_doubles(path: &str, toolsets: &[Toolset]) -> Result<(), ApiError> {
    let mut names = HashSet::new();
    let mut agent = false;
    for (at, toolset) in toolsets.iter().enumerate() {
        let fresh = match toolset {
            Toolset::Agent { .. } => !std::mem::replace(&mut agent, true),
            Toolset::Mail { .. } => MailTool::ALL
                .into_iter()
                .all(|tool| names.insert(tool.name().to_owned())),
            Toolset::Mcp { mcp_server_name, .. } => names.insert(format!("mcp {mcp_server_name}")),
            Toolset::Custom { name, .. } => names.insert(name.clone()),
        };
        if !fresh {
            return Err(ApiError::field(
                format!("{path}[{at}]"),
                "the same tool or toolset is there twice",
            ));
        }
    }
    let shadowed = Builtin::ALL.iter().find(|tool| agent && names.contains(tool.name()));
    match shadowed {
        Some(tool) => Err(ApiError::field(
            path,
            format!(
                "a custom tool is named {:?} like a tool of the agent toolset",
                tool.name()
            ),
        )),
        None => Ok(()),
    }
}

fn server_names(servers: &[Raw]) -> HashSet<String> {
    let names = servers.iter().filter_map(|server| server.parse::<Value>().ok());
    names
        .filter_map(|server| server["name"].as_str().map(str::to_owned))
        .collect()
}

/// Skills are part of the adopted API but not of this server: none may be asked for.
///
/// # Errors
/// 400 when there are any.
pub(crate) fn no_skills(path: &str, given: &[Value]) -> Result<Vec<Raw>, ApiError> {
    if given.is_empty() {
        Ok(Vec::new())
    } else {
        Err(ApiError::not_yet(path))
    }
}
