//! A conversation block by block: as the log tells it, and as a request tells it.

use std::collections::HashMap;

use serde_json::{Value, json};

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
    Outcome { text: String, is_error: bool },
}

/// How a result of an API without a mark for errors begins when it is one.
const FAILED: &str = "This tool call failed:\n";

/// What the log tells. An input stands where a request took it up, and the results of a step stand in the order of its
/// calls, whatever the order in which they came.
pub(crate) fn of_log(log: &[Value]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut inputs: HashMap<&str, String> = HashMap::new();
    let mut calls: Vec<&str> = Vec::new();
    let mut outcomes: HashMap<&str, Block> = HashMap::new();
    for event in log {
        let payload = &event["payload"];
        let id = event["id"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "user.message" => {
                inputs.insert(id, text(&payload["content"]));
            }
            "input.processed" => {
                let named = payload["event_ids"].as_array().into_iter().flatten();
                let taken = named.filter_map(|id| inputs.remove(id.as_str()?));
                blocks.extend(taken.map(Block::Prompt));
            }
            "agent.message" => blocks.push(Block::Words(text(&payload["content"]))),
            "agent.tool_use" => {
                calls.push(id);
                let name = payload["name"].as_str().unwrap_or_default();
                blocks.push(Block::Call(name.to_owned(), payload["input"].clone()));
            }
            "agent.tool_result" => {
                let outcome = Block::Outcome {
                    text: text(&payload["content"]),
                    is_error: payload["is_error"] == true,
                };
                outcomes.insert(payload["tool_use_id"].as_str().unwrap_or_default(), outcome);
                if calls.iter().all(|call| outcomes.contains_key(call)) {
                    blocks.extend(calls.drain(..).filter_map(|call| outcomes.remove(call)));
                }
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
                "tool_result" => blocks.push(Block::Outcome {
                    text: text(&block["content"]),
                    is_error: block["is_error"] == true,
                }),
                "thinking" | "redacted_thinking" => {}
                other => blocks.push(Block::Words(format!("a block of type {other}"))),
            }
        }
    }
    if matches!(blocks.first(), Some(Block::Prompt(text)) if text.starts_with("<system-reminder>")) {
        blocks.remove(0);
    }
    blocks
}

/// What a Responses request of Codex tells. No agent here has a system prompt.
pub(crate) fn of_responses(body: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    for item in body["input"].as_array().into_iter().flatten() {
        match (item["type"].as_str().unwrap_or_default(), item["role"].as_str()) {
            ("reasoning", _) => {}
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
            ("function_call_output", _) => {
                let said = text(&item["output"]);
                let failed = said.strip_prefix(FAILED);
                blocks.push(Block::Outcome {
                    text: failed.unwrap_or(&said).to_owned(),
                    is_error: failed.is_some(),
                });
            }
            (other, _) => blocks.push(Block::Words(format!("an item of type {other}"))),
        }
    }
    blocks
}

/// What a model reads of a Messages request, byte for byte, but for the reminder of the date.
pub(crate) fn read_of_messages(body: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        match &message["content"] {
            Value::Array(blocks) => parts.extend(blocks.iter().map(|block| read(&message["role"], block))),
            text => parts.push(read(&message["role"], &json!({"type": "text", "text": text}))),
        }
    }
    if parts.first().is_some_and(|part| part.contains("<system-reminder>")) {
        parts.remove(0);
    }
    parts
}

/// The same of a Responses request.
pub(crate) fn read_of_responses(body: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    for item in body["input"].as_array().into_iter().flatten() {
        match item["content"].as_array().filter(|_| item["type"] == "message") {
            Some(content) => parts.extend(content.iter().map(|part| read(&item["role"], part))),
            None => parts.push(read(&item["role"], item)),
        }
    }
    parts
}

/// Members in one order, which differs between a harness's own objects and those it was given; without what is noted of a
/// part beside it: where it may be cached, the vendor's ids of items that nothing refers to, their states.
fn read(role: &Value, part: &Value) -> String {
    let members = part.as_object().into_iter().flatten();
    let mut members: Vec<String> = members
        .filter(|(name, _)| match name.as_str() {
            "annotations" | "cache_control" | "status" => false,
            // A result refers to it.
            "id" => part["type"] == "tool_use",
            _ => true,
        })
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    members.sort();
    format!("{role} {}", members.join(", "))
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
fn text(content: &Value) -> String {
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
