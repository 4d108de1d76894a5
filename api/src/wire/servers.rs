//! MCP servers of an agent: on the web, or programs that are started where its sessions' tools run. The values of a program's variables
//! are sealed before anything is stored, and served sealed: given back like that they stay what they are.

use std::collections::HashSet;

use indexmap::IndexMap;
use perennial_engine::ports::{SealError, Seals};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::event::Raw;
use perennial_schema::limits::{MCP_SERVERS, NAME_CHARS};
use perennial_schema::mcp::{McpPlace, McpServer, SEALED, StdioServer, is_variable};
use perennial_schema::stream::MAX_SERVER_BYTES;
use perennial_schema::{Secret, WorkspaceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{count, length};
use crate::body::part;
use crate::error::ApiError;

/// Variables that are ours.
const OURS: &str = "PERENNIAL_";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlInput {
    #[serde(rename = "type")]
    _kind: String,
    name: String,
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StdioInput {
    #[serde(rename = "type")]
    _kind: String,
    name: String,
    command: String,
    args: Option<Vec<String>>,
    env: Option<IndexMap<String, String>>,
}

/// Checks `mcp_servers`.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn servers(path: &str, given: &[Value]) -> Result<Vec<Raw>, ApiError> {
    count(path, given.len(), MCP_SERVERS)?;
    let mut names = HashSet::new();
    let mut servers = Vec::new();
    for (at, value) in given.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let server = match value["type"].as_str() {
            Some("url") => url(&path, value)?,
            Some("stdio") => stdio(&path, value)?,
            _ => return Err(ApiError::field(format!("{path}.type"), "expected url or stdio")),
        };
        length(&format!("{path}.name"), &server.name, 1, NAME_CHARS)?;
        if !names.insert(server.name.clone()) {
            return Err(ApiError::field(
                format!("{path}.name"),
                format!("{:?} is there twice", server.name),
            ));
        }
        servers.push(raw(&server));
    }
    Ok(servers)
}

fn raw(server: &McpServer) -> Raw {
    let name = &server.name;
    Raw::of(&match &server.place {
        McpPlace::Url { url } => json!({"type": "url", "name": name, "url": url}),
        McpPlace::Stdio(StdioServer { command, args, env }) => {
            json!({"type": "stdio", "name": name, "command": command, "args": args, "env": env})
        }
        McpPlace::Nowhere => Value::Null,
    })
}

fn url(path: &str, value: &Value) -> Result<McpServer, ApiError> {
    let UrlInput { name, url, .. } = part(value, path)?;
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err(ApiError::field(
            format!("{path}.url"),
            "must begin with https:// or http://",
        ));
    }
    let place = McpPlace::Url { url };
    Ok(McpServer { name, place })
}

fn stdio(path: &str, value: &Value) -> Result<McpServer, ApiError> {
    let input: StdioInput = part(value, path)?;
    if input.command.is_empty() {
        return Err(ApiError::field(format!("{path}.command"), "is empty"));
    }
    let (args, env) = (input.args.unwrap_or_default(), input.env.unwrap_or_default());
    if let Some(name) = env.keys().find(|name| !is_variable(name) || name.starts_with(OURS)) {
        let name: String = name.chars().take(60).collect();
        return Err(ApiError::field(
            format!("{path}.env"),
            format!("{name:?} is no name for a variable: letters, digits and _, none of {OURS}…"),
        ));
    }
    let words = std::iter::once(&input.command).chain(&args).chain(env.keys());
    // As JSON, which is what travels.
    let size = |word: &String| Value::from(&**word).to_string().len();
    let bytes = words.map(size).sum::<usize>() + env.values().map(|value| plain(value, size)).sum::<usize>();
    if bytes > MAX_SERVER_BYTES {
        return Err(ApiError::field(
            path.to_owned(),
            format!("command, args and env have {bytes} bytes, and may have {MAX_SERVER_BYTES}"),
        ));
    }
    let place = McpPlace::Stdio(StdioServer {
        command: input.command,
        args,
        env,
    });
    Ok(McpServer {
        name: input.name,
        place,
    })
}

/// How long a value is, which may be sealed: in base64, beside what opens it.
fn plain(value: &String, size: impl Fn(&String) -> usize) -> usize {
    match value.strip_prefix(SEALED) {
        Some(sealed) => sealed.len() / 4 * 3,
        None => size(value),
    }
}

/// Seals what an agent's servers are told.
///
/// # Errors
/// 400 naming the field, without a key or for what was sealed somewhere else.
pub(crate) fn seal(snapshot: &mut AgentSnapshot, seals: &dyn Seals, workspace: WorkspaceId) -> Result<(), ApiError> {
    for (at, stored) in snapshot.mcp_servers.iter_mut().enumerate() {
        let Ok(mut server) = stored.parse::<McpServer>() else {
            continue;
        };
        let McpPlace::Stdio(program) = &mut server.place else {
            continue;
        };
        for (name, value) in &mut program.env {
            let field = || format!("mcp_servers[{at}].env.{name}");
            let about = StdioServer::seal(workspace, name);
            if let Some(sealed) = value.strip_prefix(SEALED) {
                let opened = seals.open(&about, sealed);
                opened.map_err(|_| ApiError::field(field(), "was not sealed here for this: give the value itself"))?;
                continue;
            }
            let sealed = seals.seal(&about, &Secret::new(value.clone()));
            let sealed = sealed.map_err(|error| match error {
                SealError::NoKey => ApiError::field(
                    field(),
                    "this server has no key to keep it with: set PERENNIAL_SEAL_KEY",
                ),
                SealError::Unreadable => ApiError::bug(),
            })?;
            *value = format!("{SEALED}{sealed}");
        }
        *stored = raw(&server);
    }
    Ok(())
}
