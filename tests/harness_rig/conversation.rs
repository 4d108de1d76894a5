//! A conversation block by block: as the log tells it, and as a request tells it.

use std::collections::HashMap;

use serde_json::Value;

/// A block, as far as every vendor can say it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    /// What the user says.
    Prompt(String),
    /// What the model says.
    Words(String),
    /// What the model calls.
    Call(String, Value),
    /// What came of it.
    Outcome(String),
}

/// What the log tells. Results stand behind the calls of their step, in the order of the calls; what was said while a call
/// ran stands behind them.
pub(crate) fn of_log(log: &[Value]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut calls: Vec<String> = Vec::new();
    let mut outcomes: HashMap<String, String> = HashMap::new();
    let mut meanwhile = Vec::new();
    for event in log {
        let payload = &event["payload"];
        let kind = event["type"].as_str().unwrap_or_default();
        if kind != "agent.tool_result" && !calls.is_empty() && outcomes.len() == calls.len() {
            blocks.extend(
                calls
                    .drain(..)
                    .filter_map(|id| outcomes.remove(&id))
                    .map(Block::Outcome),
            );
        }
        match kind {
            "user.message" if !calls.is_empty() => meanwhile.push(Block::Prompt(text(&payload["content"]))),
            "user.message" => blocks.push(Block::Prompt(text(&payload["content"]))),
            "agent.message" => blocks.push(Block::Words(text(&payload["content"]))),
            "agent.tool_use" => {
                calls.push(event["id"].as_str().unwrap_or_default().to_owned());
                let name = payload["name"].as_str().unwrap_or_default();
                blocks.push(Block::Call(name.to_owned(), payload["input"].clone()));
            }
            "agent.tool_result" => {
                let id = payload["tool_use_id"].as_str().unwrap_or_default();
                outcomes.insert(id.to_owned(), text(&payload["content"]));
            }
            _ => {}
        }
    }
    blocks
}

/// What a Messages request of Claude Code tells, but for the reminder of the date that it puts before the first prompt.
pub(crate) fn of_messages(body: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        let user = message["role"] == "user";
        if let Some(text) = message["content"].as_str() {
            blocks.push(said(user, text));
        }
        for block in message["content"].as_array().into_iter().flatten() {
            match block["type"].as_str().unwrap_or_default() {
                "text" => blocks.push(said(user, block["text"].as_str().unwrap_or_default())),
                "tool_use" => {
                    let name = block["name"].as_str().unwrap_or_default();
                    let name = name.strip_prefix("mcp__router__").unwrap_or(name);
                    blocks.push(Block::Call(name.to_owned(), block["input"].clone()));
                }
                "tool_result" => blocks.push(Block::Outcome(text(&block["content"]))),
                "thinking" | "redacted_thinking" => {}
                other => blocks.push(Block::Words(format!("a block of type {other}"))),
            }
        }
    }
    blocks.retain(|block| !matches!(block, Block::Prompt(text) if text.starts_with("<system-reminder>")));
    blocks
}

/// What a Responses request of Codex tells, but for the system prompt before it.
pub(crate) fn of_responses(body: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    for item in body["input"].as_array().into_iter().flatten() {
        match (item["type"].as_str().unwrap_or_default(), item["role"].as_str()) {
            ("message", Some("developer")) | ("reasoning", _) => {}
            ("message", role) => {
                let parts = item["content"].as_array().into_iter().flatten();
                blocks.extend(
                    parts
                        .filter_map(|part| part["text"].as_str())
                        .map(|text| said(role == Some("user"), text)),
                );
            }
            ("function_call", _) => {
                let name = item["name"].as_str().unwrap_or_default();
                let arguments = item["arguments"].as_str().unwrap_or_default();
                let input = serde_json::from_str(arguments).unwrap_or_default();
                blocks.push(Block::Call(name.to_owned(), input));
            }
            ("function_call_output", _) => blocks.push(Block::Outcome(text(&item["output"]))),
            (other, _) => blocks.push(Block::Words(format!("an item of type {other}"))),
        }
    }
    blocks
}

/// A prompt that begins with a slash gets a space before it: a command of the harness otherwise.
fn said(user: bool, text: &str) -> Block {
    if user {
        Block::Prompt(text.trim_start().to_owned())
    } else {
        Block::Words(text.to_owned())
    }
}

/// The texts of blocks, or a text that stands for one.
pub(crate) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        blocks => blocks
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|block| block["text"].as_str())
            .collect(),
    }
}
