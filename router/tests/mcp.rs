//! The MCP endpoint as a harness (and as a stranger) meets it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::sync::Arc;

use async_trait::async_trait;
use perennial_engine::ports::{Lane, ToolSpec};
use perennial_router::mcp::{McpCall, McpCalls, McpEndpoint};
use perennial_schema::event::Permission;
use perennial_schema::tool::{Builtin, Outcome};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

struct Echo;

#[async_trait]
impl McpCalls for Echo {
    async fn call(&self, call: McpCall) -> Outcome {
        let said = format!("{} {} {}", call.tool, call.tool_use_id, call.arguments.text());
        Outcome::text(said, call.tool == "bash")
    }
}

fn spec(tool: Builtin) -> ToolSpec {
    ToolSpec {
        name: tool.name().into(),
        description: tool.description().into(),
        input_schema: tool.input_schema(),
        lane: Lane::Executor,
        permission: Permission::Allow,
        effect: tool.effect(),
        choices: Vec::new(),
    }
}

async fn endpoint() -> McpEndpoint {
    McpEndpoint::listen(&[spec(Builtin::Bash), spec(Builtin::Read)], Arc::new(Echo))
        .await
        .unwrap()
}

fn post(endpoint: &McpEndpoint, body: &Value) -> RequestBuilder {
    Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(endpoint.url())
        .header("accept", "application/json, text/event-stream")
        .json(body)
}

async fn ask(endpoint: &McpEndpoint, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let response = post(endpoint, &body)
        .bearer_auth(endpoint.token())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "{method}");
    let text = response.text().await.unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(str::trim)
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .find(|message| message["id"] == 1)
        .unwrap_or_else(|| panic!("no answer in {text}"))
}

fn initialize() -> Value {
    json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}})
}

#[tokio::test]
async fn it_lists_the_catalogue_with_hints_for_parallel_use() {
    let endpoint = endpoint().await;
    let hello = ask(&endpoint, "initialize", initialize()).await;
    assert_eq!(hello["result"]["serverInfo"]["name"], "perennial");
    let list = ask(&endpoint, "tools/list", json!({})).await;
    let tools = list["result"]["tools"].as_array().unwrap();
    let hints: Vec<_> = tools
        .iter()
        .map(|tool| {
            (
                tool["name"].as_str().unwrap(),
                tool["annotations"]["readOnlyHint"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(hints, [("bash", false), ("read", true)]);
    assert_eq!(tools[0]["inputSchema"], Builtin::Bash.input_schema());
    endpoint.close().await;
}

#[tokio::test]
async fn a_call_carries_the_models_id_and_verbatim_arguments() {
    let endpoint = endpoint().await;
    for (tool, failed) in [("read", false), ("bash", true)] {
        let params = json!({
            "name": tool,
            "arguments": {"b": 1, "a": [true]},
            "_meta": {"claudecode/toolUseId": "toolu_7"},
        });
        let answer = ask(&endpoint, "tools/call", params).await;
        let result = &answer["result"];
        assert_eq!(
            result["content"][0]["text"],
            format!(r#"{tool} toolu_7 {{"b":1,"a":[true]}}"#)
        );
        assert_eq!(result["isError"], failed);
    }
    endpoint.close().await;
}

#[tokio::test]
async fn calls_without_an_id_or_for_unknown_tools_are_refused() {
    let endpoint = endpoint().await;
    let no_id = ask(&endpoint, "tools/call", json!({"name": "read", "arguments": {}})).await;
    assert_eq!(no_id["error"]["code"], -32602);
    let meta = json!({"claudecode/toolUseId": "toolu_7"});
    let unknown = ask(
        &endpoint,
        "tools/call",
        json!({"name": "rm", "arguments": {}, "_meta": meta}),
    )
    .await;
    assert_eq!(unknown["error"]["code"], -32602);
    endpoint.close().await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let endpoint = endpoint().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()});
    let status = |request: RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    assert_eq!(status(post(&endpoint, &body)).await, 401);
    assert_eq!(status(post(&endpoint, &body).bearer_auth("wrong")).await, 401);
    let known = || post(&endpoint, &body).bearer_auth(endpoint.token());
    assert_eq!(status(known()).await, 200);
    assert_eq!(status(known().header("host", "evil.example")).await, 403);
    assert_eq!(status(known().header("origin", "http://evil.example")).await, 403);
    endpoint.close().await;
}

#[tokio::test]
async fn a_closed_endpoint_frees_its_port() {
    let endpoint = endpoint().await;
    let address = endpoint.url().replace("http://", "").replace("/mcp", "");
    endpoint.close().await;
    assert!(tokio::net::TcpListener::bind(&address).await.is_ok());
}
