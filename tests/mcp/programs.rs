//! Servers that are programs: started in the folder of a session on the executor of this host, spoken to, and gone when nobody wants
//! them any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::MCP_SERVER;
use perennial_tests::client::{Client, id};
use perennial_tests::harnesses::Pinned;
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::not_run;
use perennial_tests::processes::runs_in;
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

use crate::rig::{NO_PYTHON, PATIENCE, of, one, python, said};

/// What nobody may read who is not the program.
const CANARY: &str = "tok-canary-5a1d\"quoted";
/// For a harness to start and say something.
const HARNESS: Duration = Duration::from_secs(90);

struct Shop {
    dir: tempfile::TempDir,
    up: Up,
    server: Option<Server>,
}

impl Shop {
    async fn open() -> Result<Option<Self>> {
        Self::with(&[]).await
    }

    async fn with(env: &[(&str, &str)]) -> Result<Option<Self>> {
        if python().is_none() {
            not_run(NO_PYTHON)?;
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("work"))?;
        // Where nothing contains programs: the SDK may be in a folder that is hidden from contained ones.
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin)?;
        std::os::unix::fs::symlink("/bin/sh", bin.join("sh"))?;
        let up = Up::on(&dir.path().join("data")).env("PATH", &bin.display().to_string());
        let up = env.iter().fold(up, |up, (name, value)| up.env(name, value));
        let server = Some(up.start().await?);
        Ok(Some(Self { dir, up, server }))
    }

    fn client(&self) -> Result<&Client> {
        self.server.as_ref().map(|server| &server.client).context("it runs")
    }

    /// SIGKILL.
    async fn kill(&mut self) -> Result<()> {
        self.server.take().context("it runs")?.kill().await
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A session whose agent has the program among its servers, beside what else is said of it.
    async fn session(&self, more: &Value) -> Result<String> {
        let client = self.client()?;
        let config = json!({"type": "local", "dir": self.work()});
        let environment = json!({"name": format!("of {}", uuid::Uuid::now_v7()), "config": config});
        let environment = id(&client.post("/v1/environments", &environment).await?.ok()?)?;
        let agent = id(&client.post("/v1/agents", &agent(more)).await?.ok()?)?;
        client.session(&agent, &environment).await
    }

    /// One turn; its events.
    async fn turn(&self, session: &str, text: &str) -> Result<Vec<Value>> {
        let client = self.client()?;
        let after = client.log(session).await?.len() as u64;
        client.say(session, text).await?;
        client.until_idle(session, after, HARNESS).await?;
        Ok(client.log(session).await?.split_off(after as usize))
    }

    fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.work().join("ledger")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How often it was started.
    fn starts(&self) -> usize {
        self.ledger().iter().filter(|line| line["started"].is_u64()).count()
    }

    /// Whether one of its processes is alive.
    fn alive(&self) -> bool {
        runs_in(&self.work(), "program.py")
    }

    async fn gone(&self) -> Result<()> {
        let began = Instant::now();
        while self.alive() {
            ensure!(began.elapsed() < PATIENCE, "it is alive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn agent(more: &Value) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/program.py");
    let mut agent = json!({"name": "user", "model": "rehearsal-1",
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "prog",
            "default_config": {"permission_policy": {"type": "always_allow"}}}],
        "mcp_servers": [{"type": "stdio", "name": "prog", "command": python(),
            "args": ["-B", program], "env": {"API_TOKEN": CANARY, "MODE": "quiet"}}]});
    for (name, value) in more.as_object().into_iter().flatten() {
        agent[name] = value.clone();
    }
    agent
}

#[tokio::test]
async fn a_program_runs_where_the_tools_do_and_keeps_its_secrets() -> Result<()> {
    let Some(mut shop) = Shop::with(&[("OPENAI_API_KEY", "sk-of-the-server")]).await? else {
        return Ok(());
    };
    let session = shop.session(&json!({})).await?;
    ensure!(shop.starts() == 0);
    let log = shop.turn(&session, r#"/tool prog__echo {"text":"hi"}"#).await?;
    let used = one(&log, "agent.mcp_tool_use")?;
    ensure!(used["mcp_server_name"] == "prog" && used["name"] == "echo", "{used}");
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: hi", "{log:#?}");

    // In the folder of the session, with what it was given and little else. What it was given comes back as a blot.
    let log = shop.turn(&session, "/tool prog__look {}").await?;
    let look: Value = serde_json::from_str(said(one(&log, "agent.mcp_tool_result")?))?;
    ensure!(look["cwd"] == json!(shop.work()), "{look}");
    ensure!(
        look["env"]["MODE"] == "quiet" && look["env"]["API_TOKEN"] == "[secret]",
        "{look}"
    );
    ensure!(look["env"]["OPENAI_API_KEY"].is_null(), "{look}");
    ensure!(
        look["pid"].is_u64() && shop.starts() == 1,
        "one program serves the session"
    );

    // It ends in a call: nobody knows what that did, and is told how it ended; the next call starts it again.
    let log = shop.turn(&session, "/tool prog__die {}").await?;
    let result = one(&log, "agent.mcp_tool_result")?;
    let told = said(result);
    ensure!(result["is_error"] == true && told.contains("is unknown"), "{told}");
    ensure!(
        told.contains("status 3") && told.contains("no more: [secret]"),
        "{told}"
    );
    let log = shop.turn(&session, r#"/tool prog__echo {"text":"again"}"#).await?;
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: again", "{log:#?}");
    ensure!(shop.starts() == 2 && of(&log, "session.error").is_empty(), "{log:#?}");

    // One that says too much at once is ended.
    let log = shop.turn(&session, "/tool prog__grow {}").await?;
    ensure!(
        said(one(&log, "agent.mcp_tool_result")?).contains("in one line"),
        "{log:#?}"
    );

    // Sealed wherever it is kept or served, and given back like that it stays what it is.
    let client = shop.client()?;
    let agents = client.get("/v1/agents").await?.ok()?;
    let made = &agents["data"][0];
    let env = &made["mcp_servers"][0]["env"];
    ensure!(
        env["API_TOKEN"]
            .as_str()
            .is_some_and(|value| value.starts_with("sealed:")),
        "{made}"
    );
    let path = format!("/v1/agents/{}", id(made)?);
    let again = json!({"mcp_servers": made["mcp_servers"], "description": "the same"});
    let next = client.post(&path, &again).await?.ok()?;
    ensure!(
        next["version"] == 2 && next["mcp_servers"] == made["mcp_servers"],
        "{next}"
    );
    let mut foreign = again.clone();
    foreign["mcp_servers"][0]["env"]["OTHER"] = env["API_TOKEN"].clone();
    let refused = client.post(&path, &foreign).await?;
    ensure!(
        refused.status == 400 && refused.body.to_string().contains("env.OTHER"),
        "{}",
        refused.body
    );
    let log = client.log(&session).await?;
    shop.kill().await?;
    let canary = CANARY.split('"').next().unwrap_or_default();
    ensure!(!format!("{log:?}").contains(canary));
    for entry in std::fs::read_dir(shop.dir.path())?.chain(std::fs::read_dir(shop.dir.path().join("data"))?) {
        let path = entry?.path();
        let found = path.is_file()
            && std::fs::read(&path)?
                .windows(canary.len())
                .any(|bytes| bytes == canary.as_bytes());
        ensure!(!found, "{} has a secret in it", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn a_program_ends_with_its_session_and_with_its_server() -> Result<()> {
    let Some(mut shop) = Shop::open().await? else {
        return Ok(());
    };
    let session = shop.session(&json!({})).await?;
    shop.turn(&session, r#"/tool prog__echo {"text":"a"}"#).await?;
    ensure!(shop.alive());
    let client = shop.client()?;
    client
        .send(client.request("DELETE", &format!("/v1/sessions/{session}")))
        .await?
        .ok()?;
    shop.gone().await?;
    let session = shop.session(&json!({})).await?;
    shop.turn(&session, r#"/tool prog__echo {"text":"b"}"#).await?;
    ensure!(shop.alive());
    shop.kill().await?;
    shop.gone().await?;
    shop.server = Some(shop.up.start().await?);
    let log = shop.turn(&session, r#"/tool prog__echo {"text":"c"}"#).await?;
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: c", "{log:#?}");
    Ok(())
}

/// It says that its tools changed: in the same turn nobody calls what nobody looked at, and the others are there.
#[tokio::test]
async fn what_a_program_says_of_a_change_is_heard_at_once() -> Result<()> {
    let Some(shop) = Shop::open().await? else {
        return Ok(());
    };
    let session = shop.session(&json!({})).await?;
    let script = "/tool prog__change {\"text\":\"Says it to everybody.\"}\n/then\n/tool prog__echo {\"text\":\"x\"}\n/then\n\
                  /tool prog__look {}\n/then\n/say done";
    let log = shop.turn(&session, script).await?;
    let error = &one(&log, "session.error")?["error"];
    ensure!(
        error["message"].to_string().contains("perennial mcp approve mcpt_"),
        "{error}"
    );
    ensure!(
        said(one(&log, "agent.tool_result")?).contains("There is no tool"),
        "{log:#?}"
    );
    ensure!(of(&log, "agent.mcp_tool_result").len() == 2, "{log:#?}");
    let called: Vec<Value> = shop.ledger().iter().map(|line| line["tool"].clone()).collect();
    ensure!(!called.contains(&json!("echo")), "{called:?}");

    let client = shop.client()?;
    let changed = client.get("/v1/mcp_tools?changed=true").await?.ok()?;
    let tool = &changed["data"][0];
    ensure!(
        tool["url"]
            .as_str()
            .is_some_and(|shown| shown.starts_with("stdio:/") && shown.contains(" -B ")),
        "{tool}"
    );
    let word = json!({"approved_hash": tool["changed"]["hash"]});
    let path = format!("/v1/mcp_tools/{}", id(tool)?);
    client.send(client.request("PATCH", &path).json(&word)).await?.ok()?;
    let log = shop.turn(&session, r#"/tool prog__echo {"text":"y"}"#).await?;
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: y", "{log:#?}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_cannot_be_started_costs_its_tools_and_nothing_else() -> Result<()> {
    let Some(shop) = Shop::open().await? else {
        return Ok(());
    };
    let broken = |command: &str, args: Value| json!({"mcp_servers": [{"type": "stdio", "name": "prog", "command": command, "args": args}]});
    for (more, why) in [
        (broken("no-such-program", json!([])), "no-such-program"),
        (
            broken("sh", json!(["-c", "echo it wants a key >&2; exit 7"])),
            "status 7, and said: it wants a key",
        ),
    ] {
        let session = shop.session(&more).await?;
        let log = shop.turn(&session, "/say still here").await?;
        let error = &one(&log, "session.error")?["error"];
        ensure!(
            error["type"] == "mcp_connection_failed_error" && error["mcp_server_name"] == "prog",
            "{error}"
        );
        ensure!(error["message"].to_string().contains(why), "{error}");
        ensure!(one(&log, "agent.message")?.to_string().contains("still here"));
    }
    for (server, field) in [
        (json!({"type": "stdio", "name": "a", "command": ""}), "command"),
        (
            json!({"type": "stdio", "name": "a", "command": "x", "env": {"A=B": "1"}}),
            "env",
        ),
        (
            json!({"type": "stdio", "name": "a", "command": "x", "args": ["y".repeat(9000)]}),
            "8192",
        ),
        (
            json!({"type": "stdio", "name": "a", "command": "x", "url": "http://a"}),
            "url",
        ),
        (json!({"type": "sse", "name": "a", "url": "http://a"}), "url or stdio"),
    ] {
        let body = json!({"name": "a", "model": "rehearsal-1", "mcp_servers": [server]});
        let refused = shop.client()?.post("/v1/agents", &body).await?;
        ensure!(
            refused.status == 400 && refused.body.to_string().contains(field),
            "{}",
            refused.body
        );
    }
    Ok(())
}

/// The same, contained: by what every machine has.
#[tokio::test]
async fn a_contained_program_runs_in_the_folder_of_its_session() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let client = &server.client;
    let program = json!({"mcp_servers": [{"type": "stdio", "name": "prog", "command": "bash", "args": ["-c", MCP_SERVER],
        "env": {"MODE": "here"}}]});
    let agent = id(&client.post("/v1/agents", &agent(&program)).await?.ok()?)?;
    let environment = json!({"name": "here", "config": {"type": "local"}});
    let environment = id(&client.post("/v1/environments", &environment).await?.ok()?)?;
    let session = client.session(&agent, &environment).await?;
    client.say(&session, "/tool prog__where {}").await?;
    client.until_idle(&session, 0, HARNESS).await?;
    let log = client.log(&session).await?;
    let told = said(one(&log, "agent.mcp_tool_result")?);
    ensure!(
        told.starts_with("here ") && told.ends_with(&format!("/workspaces/{session}")),
        "{told}"
    );
    Ok(())
}

/// The real harnesses call a tool of a server, over our own loop of tools.
async fn harness(kind: Pinned, model: &str, vendor: Vendor, settings: [&str; 3]) -> Result<()> {
    let Some(binary) = kind.installed()? else {
        return Ok(());
    };
    let scripted = ModelServer::start(vendor).await?;
    let [base, key, program] = settings;
    let binary = binary.display().to_string();
    let env = [
        (base, scripted.base_url()),
        (key, "sk-test-canary"),
        (program, binary.as_str()),
    ];
    let Some(shop) = Shop::with(&env).await? else {
        return Ok(());
    };
    let session = shop.session(&json!({"model": model, "harness": kind.name()})).await?;
    let log = shop
        .turn(&session, "/tool prog__echo {\"text\":\"hi\"}\n/then\n/say done")
        .await?;
    let used = one(&log, "agent.mcp_tool_use")?;
    ensure!(used["mcp_server_name"] == "prog" && used["name"] == "echo", "{used}");
    ensure!(said(one(&log, "agent.mcp_tool_result")?) == "echo: hi", "{log:#?}");
    ensure!(scripted.violations().is_empty(), "{:?}", scripted.violations());
    let asked = scripted.requests();
    let last = asked.last().context("it was asked")?;
    ensure!(last.body.to_string().contains("echo: hi"), "{}", last.body);
    Ok(())
}

#[tokio::test]
async fn claude_code_calls_a_programs_tool() -> Result<()> {
    let settings = ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "PERENNIAL_CLAUDE_BIN"];
    harness(Pinned::ClaudeCode, "claude-test-1", Vendor::Anthropic, settings).await
}

#[tokio::test]
async fn codex_calls_a_programs_tool() -> Result<()> {
    let settings = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "PERENNIAL_CODEX_BIN"];
    harness(Pinned::Codex, "openai/gpt-6-sol", Vendor::OpenAi, settings).await
}
