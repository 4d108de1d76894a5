//! A `.mcp.json`, as other clients of MCP read it: which servers an agent has.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    mcp_servers: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
}

/// Its servers, as the API takes them.
#[derive(Debug, PartialEq)]
pub(super) struct Servers(Vec<Value>);

/// Reads one.
pub(super) fn read(path: &Path) -> Result<Servers, Error> {
    let given = super::read(path)?;
    servers(given, |name| std::env::var(name).ok()).map_err(|why| Error::Usage(format!("{}: {why}", path.display())))
}

impl Servers {
    /// Gives them to a definition, with all of their tools.
    pub(super) fn add_to(self, body: &mut Value) {
        let toolsets = self
            .0
            .iter()
            .map(|server| json!({"type": "mcp_toolset", "mcp_server_name": server["name"]}));
        for (member, more) in [("tools", toolsets.collect()), ("mcp_servers", self.0)] {
            match body[member].as_array_mut() {
                Some(there) => there.extend(more),
                None => body[member] = more.into(),
            }
        }
    }
}

fn servers(given: Value, env: impl Fn(&str) -> Option<String>) -> Result<Servers, String> {
    let file: File = serde_json::from_value(given).map_err(|error| format!("not an mcpServers file: {error}"))?;
    let servers = file.mcp_servers.into_iter().map(|(name, entry)| {
        let wrong = |why: String| format!("mcpServers.{name}: {why}");
        server(&name, &entry, &env).map_err(wrong)
    });
    Ok(Servers(servers.collect::<Result<_, _>>()?))
}

fn server(name: &str, entry: &Entry, env: &impl Fn(&str) -> Option<String>) -> Result<Value, String> {
    let full = |text: &String| expanded(text, env);
    let is_stdio = entry.command.is_some();
    match entry.kind.as_deref().unwrap_or(if is_stdio { "stdio" } else { "http" }) {
        "stdio" => {
            let command = entry.command.as_ref().ok_or("it has no command")?;
            let args = entry.args.iter().map(full).collect::<Result<Vec<_>, _>>()?;
            let variables = entry
                .env
                .iter()
                .map(|(name, value)| Ok::<_, String>((name, full(value)?)));
            let variables = variables.collect::<Result<BTreeMap<_, _>, _>>()?;
            Ok(json!({"type": "stdio", "name": name, "command": full(command)?, "args": args, "env": variables}))
        }
        "http" | "streamable-http" => {
            let url = entry.url.as_ref().ok_or("it has neither command nor url")?;
            match entry.headers.keys().next() {
                Some(header) => Err(format!(
                    "headers.{header}: agents send no headers of their own to MCP servers"
                )),
                None => Ok(json!({"type": "url", "name": name, "url": full(url)?})),
            }
        }
        kind => Err(format!("type {kind:?} is neither stdio nor http")),
    }
}

/// With `${NAME}` and `${NAME:-otherwise}` replaced. What nobody said is an error, and is not told to a server.
fn expanded(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut full, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, after) = after
            .split_once('}')
            .ok_or_else(|| format!("{text:?}: a ${{ has no end"))?;
        let (name, otherwise) = match inner.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inner, None),
        };
        full.push_str(before);
        let value = env(name).or_else(|| otherwise.map(str::to_owned));
        full.push_str(&value.ok_or_else(|| format!("the variable {name} is not set"))?);
        rest = after;
    }
    full.push_str(rest);
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: Value) -> Result<Servers, String> {
        servers(given, |name| (name == "TOKEN").then(|| "t${x".to_owned()))
    }

    #[test]
    fn a_file_of_another_client_is_taken_as_it_is() {
        let given = json!({"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "@a/b", "${DIR:-/work}/x"], "env": {"KEY": "a-${TOKEN}"}},
            "docs": {"type": "http", "url": "https://example.com/mcp"},
        }});
        let read = read(given).unwrap();
        let mut body = json!({"tools": [{"type": "agent_toolset_20260401"}]});
        read.add_to(&mut body);
        assert_eq!(
            body["mcp_servers"],
            json!([
                {"type": "url", "name": "docs", "url": "https://example.com/mcp"},
                {"type": "stdio", "name": "files", "command": "npx", "args": ["-y", "@a/b", "/work/x"],
                    "env": {"KEY": "a-t${x"}},
            ])
        );
        assert_eq!(
            body["tools"][1],
            json!({"type": "mcp_toolset", "mcp_server_name": "docs"})
        );
        assert_eq!(body["tools"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_its_name() {
        for (entry, why) in [
            (
                json!({"command": "x", "env": {"A": "${NOBODY}"}}),
                "mcpServers.a: the variable NOBODY is not set",
            ),
            (json!({"url": "https://a", "headers": {"X-Key": "1"}}), "headers.X-Key"),
            (json!({"type": "sse", "url": "https://a"}), "\"sse\""),
            (json!({}), "neither command nor url"),
            (json!({"command": "${A"}), "has no end"),
        ] {
            let said = read(json!({"mcpServers": {"a": entry}})).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(read(json!({"servers": {}})).unwrap_err().contains("mcpServers"));
    }
}
