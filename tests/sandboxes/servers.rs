//! MCP servers that are programs, in a sandbox: started when its folder is ready, and no reason for it to run.

use anyhow::{Context, Result, ensure};
use perennial_tests::MCP_SERVER;
use perennial_tests::client::id;
use serde_json::{Value, json};

use crate::rig::Stand;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_runs_in_the_sandbox_and_does_not_keep_it_running() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let client = stand.client();
    let agent = json!({"name": "user", "model": "rehearsal-1",
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "prog",
            "default_config": {"permission_policy": {"type": "always_allow"}}}],
        "mcp_servers": [{"type": "stdio", "name": "prog", "command": "bash", "args": ["server.sh"],
            "env": {"MODE": "inside"}}]});
    let agent = id(&client.post("/v1/agents", &agent).await?.ok()?)?;
    // There only once the folder is ready.
    let setup = format!("cat > server.sh <<'END'\n{MCP_SERVER}END\n");
    let config = json!({"type": "cloud", "idle_timeout": 1, "setup": setup});
    let body = json!({"name": "with a server", "config": config});
    let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    let session = client.session(&agent, &environment).await?;
    let mut lives = Vec::new();
    for _ in 0..2 {
        let events = stand.turn(&session, "/tool prog__where {}").await?;
        let mut results = events.iter().filter(|event| event["type"] == "agent.mcp_tool_result");
        let result: &Value = results
            .next()
            .with_context(|| format!("{events:#?} {}", stand.up.log()))?;
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        let words: Vec<&str> = said.split(' ').collect();
        ensure!(
            words.len() == 4 && words[0] == "inside" && words[2] == "65532",
            "{result}"
        );
        lives.push(words[1].to_owned());
        stand.until(&session, "exited").await?;
    }
    ensure!(lives[0] != lives[1], "it ended with its sandbox, and was started again");
    Ok(())
}
