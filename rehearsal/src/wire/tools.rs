//! Names of tools: a script says `bash`, and the request may offer it as `mcp__router__bash`, or in a namespace.

use serde_json::Value;

use super::{list, text};

/// A tool as a request offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) name: String,
    /// Responses only.
    pub(super) namespace: Option<String>,
    /// Takes free text instead of an object.
    pub(super) is_custom: bool,
}

/// Every tool of a request of any wire.
pub(super) fn offered(tools: &Value) -> Vec<Offered> {
    let mut found = Vec::new();
    for tool in list(tools) {
        match text(&tool["type"]) {
            "namespace" => found.extend(list(&tool["tools"]).iter().map(|inner| Offered {
                name: text(&inner["name"]).to_owned(),
                namespace: Some(text(&tool["name"]).to_owned()),
                is_custom: inner["type"] == "custom",
            })),
            kind => {
                let name = [&tool["name"], &tool["function"]["name"], &tool["custom"]["name"]];
                let name = name.into_iter().find_map(Value::as_str);
                found.extend(name.map(|name| Offered {
                    name: name.to_owned(),
                    namespace: None,
                    // An Anthropic tool may call itself custom and takes an object all the same.
                    is_custom: kind == "custom" && tool.get("input_schema").is_none(),
                }));
            }
        }
    }
    found
}

/// The one tool that is meant: of this very name, or the only one whose name ends in it. A name that means none, or more
/// than one, stays as it is: what an unknown tool leads to is a thing to rehearse as well.
pub(super) fn resolve(name: &str, offered: &[Offered]) -> Offered {
    let exact = offered.iter().find(|tool| tool.name == name);
    let ending = |separator: &str| {
        let ending = format!("{separator}{name}");
        let mut matching = offered.iter().filter(|tool| tool.name.ends_with(&ending));
        matching.next().filter(|_| matching.next().is_none())
    };
    exact
        .or_else(|| ["__", "_", ".", "-"].into_iter().find_map(ending))
        .cloned()
        .unwrap_or_else(|| Offered {
            name: name.to_owned(),
            ..Offered::default()
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_are_found_by_the_end_of_their_name() {
        let tools = json!([
            {"name": "mcp__router__bash", "input_schema": {}}, {"name": "mcp__router__my_read"}, {"name": "router_read"},
            {"type": "function", "function": {"name": "web-fetch"}},
            {"type": "namespace", "name": "mcp__x", "tools": [{"type": "function", "name": "edit"}]},
            {"type": "custom", "name": "patch"}, {"type": "web_search"},
        ]);
        let tools = offered(&tools);
        let found = |name| resolve(name, &tools);
        assert_eq!(found("bash").name, "mcp__router__bash");
        assert_eq!(found("read").name, "read", "two of them");
        assert_eq!(found("my_read").name, "mcp__router__my_read");
        assert_eq!(found("fetch").name, "web-fetch");
        assert_eq!(found("nothing").name, "nothing");
        assert_eq!(found("edit").namespace.as_deref(), Some("mcp__x"));
        assert!(found("patch").is_custom && !found("bash").is_custom);
    }
}
