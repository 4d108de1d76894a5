//! As much of an MCP client as it takes to call a tool over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

/// A server of `session/new`.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    url: String,
    headers: Vec<(String, String)>,
}

impl Server {
    /// One over HTTP, if this is one.
    pub(crate) fn of(server: &Value) -> Option<Self> {
        let headers = server["headers"].as_array()?.iter();
        let header = |header: &Value| {
            Some((
                header["name"].as_str()?.to_owned(),
                header["value"].as_str()?.to_owned(),
            ))
        };
        Some(Self {
            url: server["url"].as_str()?.to_owned(),
            headers: headers.filter_map(header).collect(),
        })
    }

    /// Calls a tool and waits so long; gives the texts of its result, or the error.
    pub(crate) async fn call(&self, name: &str, input: &str, patience: Duration) -> String {
        let hello =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
        self.ask("initialize", &hello).await;
        let listed = self.ask("tools/list", &json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap();
        assert!(
            tools.iter().any(|tool| tool["name"] == name),
            "{name} is not in {listed}"
        );
        let arguments: Value = serde_json::from_str(input).unwrap();
        let params = json!({"name": name, "arguments": arguments});
        let Ok(answer) = timeout(patience, self.ask("tools/call", &params)).await else {
            return "no result".into();
        };
        let blocks = answer["result"]["content"].as_array().cloned().unwrap_or_default();
        let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        if texts.is_empty() {
            answer.to_string()
        } else {
            texts.join(" ")
        }
    }

    async fn ask(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = reqwest::Client::new()
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let text = request.json(&body).send().await.unwrap().text().await.unwrap();
        // Either one object, or a stream whose last event is it.
        let data = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back();
        serde_json::from_str(data.unwrap_or(&text)).unwrap_or_else(|error| json!({"error": format!("{error}: {text}")}))
    }
}
