//! Real harnesses against scripted vendors that validate every request, through the real binary, with a SIGKILL in the middle.
//! What the vendor sees after the restart is the same conversation: `[…, tool_use, tool_result]`, no new call, no extra prompt.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "/say looking\n/tool bash {\"command\":\"echo once >> ledger; sleep 1\"}\n/then\n/say finished";

struct House {
    dir: tempfile::TempDir,
    up: Up,
    model: ModelServer,
}

impl House {
    async fn new(vendor: Vendor) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let model = ModelServer::start(vendor).await?;
        let names = match vendor {
            Vendor::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
            Vendor::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        };
        let up = Up::on(&dir.path().join("data"))
            .env(names.0, model.base_url())
            .env(names.1, "sk-test-canary");
        Ok(Self { dir, up, model })
    }

    /// One turn with a tool, killed while the tool runs; returns the log after the restart.
    async fn killed_in_a_tool(&self, model: &str, harness: &str) -> Result<Vec<Value>> {
        let server = self.up.start().await?;
        let (agent, environment) = server.client.agent_on(model, harness).await?;
        let session = server.client.session(&agent, &environment).await?;
        let mut stream = server
            .client
            .stream(&session, "?after=0&include=extensions", None)
            .await?;
        server.client.say(&session, SCRIPT).await?;
        self.wait_for(&mut stream, "tool.dispatched").await?;
        self.wait_for_file(&session, "ledger").await?;
        server.kill().await?;
        let server = self.up.start().await?;
        server
            .client
            .until_idle(&session, 0, PATIENCE)
            .await
            .with_context(|| self.up.log())?;
        let log = server.client.log(&session).await?;
        self.check(&server, &session, &log).await?;
        server.kill().await?;
        Ok(log)
    }

    async fn wait_for(&self, stream: &mut perennial_tests::sse::Stream, kind: &str) -> Result<()> {
        let waiting = async {
            while let Some(frame) = stream.next().await? {
                anyhow::ensure!(frame.event != "session.error", "{}", frame.data);
                if frame.event == kind {
                    return Ok(());
                }
            }
            anyhow::bail!("the stream ended before {kind}")
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.with_context(|| format!("no {kind}: {}", self.up.log()))?
    }

    /// The tool itself tells that it has begun.
    async fn wait_for_file(&self, session: &str, name: &str) -> Result<()> {
        let path: PathBuf = self.up.data_dir.join("workspaces").join(session).join(name);
        let looking = async {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .with_context(|| format!("{} never came", path.display()))
    }

    async fn check(&self, server: &Server, session: &str, log: &[Value]) -> Result<()> {
        let ledger = self.up.data_dir.join("workspaces").join(session).join("ledger");
        assert_eq!(std::fs::read_to_string(ledger)?, "once\n");
        assert_eq!(self.model.violations(), Vec::<String>::new());
        let uses = log.iter().filter(|event| event["type"] == "agent.tool_use").count();
        assert_eq!(uses, 1, "the call was asked for again");
        let result = log
            .iter()
            .find(|event| event["type"] == "agent.tool_result")
            .context("no result")?;
        let text = result["payload"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(text.matches("outcome of this call is unknown").count(), 1, "{text}");
        assert!(text.contains("Inspect the state") && !text.contains(".."), "{text}");
        assert!(
            log.iter()
                .any(|event| event["type"] == "agent.message" && event.to_string().contains("finished"))
        );
        // The provider's key is nowhere a client or a tool can see it (I-S12).
        for event in log {
            assert!(!event.to_string().contains("sk-test-canary"));
        }
        assert!(
            !self.up.log().contains("sk-test-canary"),
            "the key is in the server's log"
        );
        assert_eq!(server.client.get("/readyz").await?.status, 200);
        assert!(self.dir.path().exists());
        Ok(())
    }
}

#[tokio::test]
async fn native_on_anthropic_survives_sigkill() -> Result<()> {
    let house = House::new(Vendor::Anthropic).await?;
    house.killed_in_a_tool("claude-test-1", "native").await?;
    let requests = house.model.requests();
    let last = &requests.last().context("no request")?.body["messages"];
    let roles: Vec<&Value> = last
        .as_array()
        .context("no messages")?
        .iter()
        .map(|message| &message["role"])
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(last[2]["content"][0]["type"], "tool_result");
    Ok(())
}

#[tokio::test]
async fn native_on_openai_survives_sigkill() -> Result<()> {
    let house = House::new(Vendor::OpenAi).await?;
    house.killed_in_a_tool("openai/gpt-test", "native").await?;
    let requests = house.model.requests();
    let input = requests.last().context("no request")?.body["input"].to_string();
    assert!(input.contains("function_call_output"), "{input}");
    Ok(())
}

/// The same with the real Claude Code as the brain.
#[tokio::test]
async fn claude_code_survives_sigkill() -> Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let claude = root.join("harnesses/claude/node_modules/@anthropic-ai/claude-code-linux-x64/claude");
    if !claude.exists() {
        return perennial_tests::not_run("claude-code through the server: run scripts/setup.sh --test first");
    }
    let mut house = House::new(Vendor::Anthropic).await?;
    house.up = house
        .up
        .clone()
        .env("PERENNIAL_CLAUDE_BIN", claude.to_str().context("a path")?);
    house.killed_in_a_tool("claude-test-1", "claude-code").await?;
    let requests = house.model.requests();
    let last = requests.last().context("no request")?.body["messages"]
        .as_array()
        .context("no messages")?
        .clone();
    let kinds: Vec<String> = last
        .iter()
        .flat_map(|message| message["content"].as_array().cloned().unwrap_or_default())
        .map(|block| block["type"].as_str().unwrap_or_default().to_owned())
        .collect();
    // The harness puts its own reminder block before the prompt; nothing else may be there.
    assert_eq!(kinds.iter().filter(|kind| *kind == "tool_use").count(), 1, "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("tool_result"), "{kinds:?}");
    assert!(!json!(last).to_string().contains("Continue from where you left off"));
    Ok(())
}
