//! MCP servers that are programs, in a sandbox: started when its folder is ready, and no reason for it to run.

use anyhow::{Context, Result, ensure};
use perennial_tests::client::id;
use serde_json::{Value, json};

use crate::rig::Stand;

/// A server in the one language that the image has.
const SERVER: &str = r#"cat > server.sh <<'END'
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+) ]] || continue
  id=${BASH_REMATCH[1]}
  case $line in
    *'"method":"initialize"'*)
      r='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"method":"tools/list"'*)
      r='{"tools":[{"name":"where","description":"Says where it is.","inputSchema":{"type":"object"}}]}' ;;
    *) r='{"content":[{"type":"text","text":"'"$MODE $(id -u) $$ $PWD"'"}]}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done
END
"#;

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
    let config = json!({"type": "cloud", "idle_timeout": 1, "setup": SERVER});
    let body = json!({"name": "with a server", "config": config});
    let environment = id(&client.post("/v1/environments", &body).await?.ok()?)?;
    let session = client.session(&agent, &environment).await?;
    for _ in 0..2 {
        let events = stand.turn(&session, "/tool prog__where {}").await?;
        let mut results = events.iter().filter(|event| event["type"] == "agent.mcp_tool_result");
        let result: &Value = results
            .next()
            .with_context(|| format!("{events:#?} {}", stand.up.log()))?;
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        ensure!(said.starts_with("inside 65532 "), "{result}");
        stand.until(&session, "exited").await?;
    }
    Ok(())
}
