//! What MCP costs: the same call of the same machine over it and over HTTP, in turn.

use std::time::Instant;

use anyhow::{Result, ensure};
use perennial_tests::client::Client;
use serde_json::json;

use crate::report::{Goal, Report, percentile};

const VERSION: &str = "2026-07-28";

/// Calls of `read` on the machine `bench`.
pub(crate) async fn calls(
    report: &mut Report,
    scenario: &'static str,
    client: &Client,
    id: &str,
    count: usize,
) -> Result<()> {
    let path = format!("/v1/executors/{id}/calls");
    let input = json!({"file_path": "there"});
    let direct = json!({"tool": "read", "input": input});
    let over_mcp = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "bench__read", "arguments": input,
        "_meta": {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"}}}});
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begun = Instant::now();
        let said = client.post(&path, &direct).await?.ok()?;
        plain.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(said["is_error"] == false, "{said}");
        let begun = Instant::now();
        let asked = client
            .request("POST", "/mcp")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", "tools/call")
            .header("mcp-name", "bench__read")
            .json(&over_mcp);
        let said = asked.send().await?.text().await?;
        ours.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(said.contains("there") && !said.contains("\"isError\":true"), "{said}");
    }
    let (plain, ours) = (percentile(&mut plain, 0.5), percentile(&mut ours, 0.5));
    report.add(scenario, "call over HTTP, in turn with MCP", "p50 ms", plain);
    report.add(scenario, "call over MCP", "p50 ms", ours);
    report.judge(
        scenario,
        "call over MCP, beyond HTTP",
        "ms",
        Goal::AtMost(2.0),
        ours - plain,
    );
    Ok(())
}
