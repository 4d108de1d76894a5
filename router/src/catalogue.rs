//! The tools an agent has in an environment: a pure function of both and of how far the hands can reach.
//!
//! MCP toolsets are left out: their tools are what their servers say now (`mcp`). An agent without a toolset has no
//! tools; nothing is given to it that its definition does not name.

use std::collections::BTreeSet;

use perennial_engine::ports::{Lane, ToolSpec};
use perennial_schema::agent::{AgentSnapshot, BuiltinConfig, ToolDefaults, Toolset};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::Permission;
use perennial_schema::tool::{Builtin, Effect, Policy};
use serde_json::Value;

use crate::hands::{Hand, choices, with_argument};
use crate::policy::{Reach, permission};
use crate::{limits, web};

/// Builds the catalogue, in the order of the agent's toolsets. The first of two tools with one name wins, so that a name
/// always means one tool. `hands` are never none; the first is for calls that name none.
pub(crate) fn build(agent: &AgentSnapshot, environment: &EnvironmentConfig, hands: &[Hand]) -> Vec<ToolSpec> {
    let mut names = BTreeSet::new();
    let mut tools = Vec::new();
    for toolset in &agent.tools {
        let offered = match toolset {
            Toolset::Agent {
                default_config,
                configs,
            } => builtins(default_config, configs, environment, hands),
            Toolset::Custom {
                name,
                description,
                input_schema,
            } => vec![custom(name, description, input_schema)],
            // A server is asked for its tools, and mail is offered by whoever has an office.
            Toolset::Mcp { .. } | Toolset::Mail { .. } => Vec::new(),
        };
        tools.extend(
            offered
                .into_iter()
                .filter(|tool| is_name(&tool.name) && names.insert(tool.name.clone())),
        );
    }
    tools
}

fn builtins(
    defaults: &ToolDefaults,
    configs: &[BuiltinConfig],
    environment: &EnvironmentConfig,
    hands: &[Hand],
) -> Vec<ToolSpec> {
    Builtin::ALL
        .into_iter()
        .filter_map(|tool| {
            let (enabled, policy) = configured(tool, defaults, configs);
            enabled.then(|| builtin(tool, policy, environment, hands)).flatten()
        })
        .chain(web_fetch(configs, environment, hands))
        .collect()
}

/// Only where it is asked for by name, and where tools are called from here.
fn web_fetch(configs: &[BuiltinConfig], environment: &EnvironmentConfig, hands: &[Hand]) -> Option<ToolSpec> {
    let asked = configs
        .iter()
        .find(|config| config.name == web::WEB_FETCH && config.enabled)?;
    let ours = !matches!(environment, EnvironmentConfig::SelfHosted);
    let reach = hands.first()?.reach;
    ours.then(|| web::spec(permission(asked.permission_policy, Builtin::Read, reach)))
}

fn configured(tool: Builtin, defaults: &ToolDefaults, configs: &[BuiltinConfig]) -> (bool, Policy) {
    configs
        .iter()
        .find(|config| config.name == tool.name())
        .map_or((defaults.enabled, defaults.permission_policy), |config| {
            (config.enabled, config.permission_policy)
        })
}

/// A tool that somebody offers. With several hands each call says which; with one there is nothing to say, and an attached
/// one is meant all the same.
fn builtin(tool: Builtin, policy: Policy, environment: &EnvironmentConfig, hands: &[Hand]) -> Option<ToolSpec> {
    let mut spec = ToolSpec {
        name: tool.name().to_owned(),
        description: tool.description().to_owned(),
        input_schema: tool.input_schema(),
        lane: Lane::Executor,
        permission: Permission::Deny,
        effect: tool.effect(),
        choices: Vec::new(),
    };
    if matches!(environment, EnvironmentConfig::SelfHosted) {
        // Somebody else's machine: this host is out of its reach, and containment is its owner's business.
        spec.lane = Lane::SelfHosted;
        spec.permission = permission(policy, tool, Reach::Bounded);
        return Some(spec);
    }
    let choices = choices(hands, tool, policy);
    spec.permission = choices.first()?.permission;
    if hands.len() > 1 {
        spec.input_schema = with_argument(spec.input_schema, hands, &choices);
    }
    if hands.iter().any(|hand| hand.attached.is_some()) {
        spec.choices = choices;
    }
    Some(spec)
}

fn custom(name: &str, description: &str, input_schema: &Value) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: input_schema.clone(),
        lane: Lane::Client,
        permission: Permission::Allow,
        effect: Effect::Once,
        choices: Vec::new(),
    }
}

/// What every model provider takes as a tool name.
fn is_name(name: &str) -> bool {
    (1..=limits::TOOL_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use perennial_schema::AgentId;
    use perennial_schema::agent::{Harness, ModelConfig};
    use perennial_schema::environment::{Container, Networking, Packages, Preparation};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn agent(tools: Vec<Toolset>) -> AgentSnapshot {
        AgentSnapshot {
            id: AgentId::from_uuid(Uuid::from_u128(1)),
            kind: "agent".into(),
            version: 1,
            name: "tester".into(),
            model: ModelConfig {
                id: "rehearsal-1".into(),
                speed: None,
                effort: None,
                inference_geo: None,
            },
            system: None,
            description: None,
            tools,
            mcp_servers: Vec::new(),
            skills: Vec::new(),
            multiagent: None,
            execution_identity: None,
            harness: Harness::Native,
            mail: None,
            executors: Vec::new(),
        }
    }

    fn toolset(configs: Vec<(&str, bool, Policy)>, enabled: bool) -> Toolset {
        Toolset::Agent {
            default_config: ToolDefaults {
                enabled,
                permission_policy: Policy::Auto,
            },
            configs: configs
                .into_iter()
                .map(|(name, enabled, permission_policy)| BuiltinConfig {
                    kind: name.into(),
                    name: name.into(),
                    enabled,
                    permission_policy,
                })
                .collect(),
        }
    }

    fn custom_set(name: &str) -> Toolset {
        Toolset::Custom {
            name: name.into(),
            description: "asks the client".into(),
            input_schema: json!({"type": "object"}),
        }
    }

    fn here(reach: Reach) -> Vec<Hand> {
        vec![Hand {
            name: "server".into(),
            attached: None,
            summary: String::new(),
            tools: None,
            reach,
        }]
    }

    fn local() -> EnvironmentConfig {
        EnvironmentConfig::Local {
            executor_id: None,
            dir: None,
            preparation: Preparation::default(),
        }
    }

    fn names(tools: &[ToolSpec]) -> Vec<&str> {
        tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    #[test]
    fn no_toolset_means_no_tools() {
        assert_eq!(build(&agent(Vec::new()), &local(), &here(Reach::Bounded)), Vec::new());
    }

    #[test]
    fn enabled_tools_come_in_order_with_their_schema_and_effect() {
        let tools = build(&agent(vec![toolset(vec![], true)]), &local(), &here(Reach::Bounded));
        assert_eq!(names(&tools), ["bash", "read", "write", "edit", "glob", "grep"]);
        for tool in &tools {
            assert_eq!(tool.lane, Lane::Executor);
            assert_eq!(tool.permission, Permission::Allow);
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            assert_eq!(Some(tool.effect), Builtin::by_name(&tool.name).map(Builtin::effect));
        }
    }

    #[test]
    fn a_tools_own_config_beats_the_default() {
        let set = toolset(
            vec![("bash", true, Policy::AlwaysAsk), ("read", true, Policy::Deny)],
            false,
        );
        let tools = build(&agent(vec![set]), &local(), &here(Reach::Bounded));
        assert_eq!(names(&tools), ["bash", "read"]);
        assert_eq!(tools[0].permission, Permission::Ask);
        assert_eq!(tools[1].permission, Permission::Deny);
    }

    #[test]
    fn uncontained_hands_ask_before_they_change_the_host() {
        let cloud = EnvironmentConfig::Cloud {
            networking: Networking::Unrestricted,
            packages: Packages::default(),
            container: Container::default(),
            executors: Vec::new(),
            preparation: Preparation::default(),
        };
        for environment in [local(), cloud] {
            let tools = build(&agent(vec![toolset(vec![], true)]), &environment, &here(Reach::Host));
            let asking: Vec<_> = tools
                .iter()
                .filter(|tool| tool.permission == Permission::Ask)
                .map(|tool| tool.name.as_str())
                .collect();
            assert_eq!(asking, ["bash", "write", "edit"]);
        }
    }

    #[test]
    fn self_hosted_tools_take_their_own_lane_and_are_not_our_host() {
        let environment = EnvironmentConfig::SelfHosted;
        let tools = build(
            &agent(vec![toolset(vec![], true), custom_set("ask")]),
            &environment,
            &here(Reach::Host),
        );
        assert!(
            tools[..6]
                .iter()
                .all(|tool| tool.lane == Lane::SelfHosted && tool.permission == Permission::Allow)
        );
        assert_eq!(tools[6].lane, Lane::Client);
    }

    #[test]
    fn names_are_valid_and_mean_one_tool() {
        let long = "x".repeat(65);
        let sets = vec![
            toolset(vec![], true),
            custom_set("bash"),
            custom_set("look-up_2"),
            custom_set("no spaces"),
            custom_set(""),
            custom_set(&long),
            custom_set("look-up_2"),
        ];
        let tools = build(&agent(sets), &local(), &here(Reach::Bounded));
        assert_eq!(
            names(&tools),
            ["bash", "read", "write", "edit", "glob", "grep", "look-up_2"]
        );
        assert_eq!(tools[0].lane, Lane::Executor);
    }

    #[test]
    fn with_several_hands_each_tool_asks_which() {
        let mut hands = vec![Hand {
            name: "laptop".into(),
            attached: Some(perennial_schema::Attachment {
                executor_id: perennial_schema::ExecutorId::from_uuid(Uuid::from_u128(7)),
                name: "laptop".into(),
                dir: None,
            }),
            summary: String::new(),
            tools: Some(vec!["bash".into(), "read".into()]),
            reach: Reach::Host,
        }];
        // One that is attached is meant, and nothing is asked.
        let tools = build(&agent(vec![toolset(vec![], true)]), &local(), &hands);
        assert_eq!(names(&tools), ["bash", "read"]);
        assert_eq!(tools[0].permission, Permission::Ask);
        assert!(tools[0].input_schema["properties"].get("executor").is_none());
        assert_eq!(tools[0].choices[0].hand, hands[0].attached);
        hands.extend(here(Reach::Bounded));
        let tools = build(&agent(vec![toolset(vec![], true)]), &local(), &hands);
        assert_eq!(names(&tools), ["bash", "read", "write", "edit", "glob", "grep"]);
        for tool in &tools {
            let both = tool.name == "bash" || tool.name == "read";
            let named = &tool.input_schema["properties"]["executor"]["enum"];
            assert_eq!(
                named.as_array().map(Vec::len),
                Some(if both { 2 } else { 1 }),
                "{}",
                tool.name
            );
            assert_eq!(tool.choices.len(), if both { 2 } else { 1 });
        }
    }
}
