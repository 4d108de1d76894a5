//! Anthropic Messages requests.

use std::collections::HashSet;

use serde_json::Value;

use super::{Checked, Issued, boolean, ensure, holds, is_name, is_unchanged, media, members, number, tools};
use crate::wire::{list, text};

/// What a request may have, betas included.
const KNOWN: [&str; 26] = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "thinking",
    "cache_control",
    "container",
    "context_management",
    "mcp_servers",
    "output_config",
    "output_format",
    "service_tier",
    "inference_geo",
    "speed",
    "betas",
    "anthropic_beta",
    "diagnostics",
    "fallbacks",
];
/// Longest name of a tool.
const NAME: usize = 128;
/// Most marks of what to cache.
const MARKS: usize = 4;

/// Checks a request.
///
/// # Errors
/// What is wrong, in words.
pub fn check(body: &Value, issued: &Issued) -> Checked {
    let max = body["max_tokens"].as_u64().unwrap_or_default();
    ensure(max > 0, || "max_tokens: required".into())?;
    thinking(&body["thinking"], max)?;
    number(body, "temperature", 0.0..=1.0)?;
    number(body, "top_p", 0.0..=1.0)?;
    boolean(body, "stream")?;
    check_count(body, issued)
}

/// Checks a request to count tokens, which names no limit.
///
/// # Errors
/// What is wrong, in words.
pub fn check_count(body: &Value, issued: &Issued) -> Checked {
    ensure(body.is_object(), || "the request is not a JSON object".into())?;
    members(body, &KNOWN)?;
    ensure(!text(&body["model"]).is_empty(), || "model: required".into())?;
    system(&body["system"])?;
    offers(body)?;
    let mut marks = list(&body["system"])
        .iter()
        .chain(list(&body["tools"]))
        .chain(std::iter::once(body))
        .map(mark)
        .sum::<Result<usize, _>>()?;
    let mut talk = Talk::default();
    for (index, message) in list(&body["messages"]).iter().enumerate() {
        let checked = talk.message(message, issued).and_then(|()| {
            list(&message["content"])
                .iter()
                .map(mark)
                .sum::<Result<usize, String>>()
        });
        marks += checked.map_err(|problem| format!("messages.{index}: {problem}"))?;
    }
    ensure(marks <= MARKS, || {
        format!("cache_control: {marks} blocks, more than {MARKS}")
    })?;
    talk.end()
}

fn thinking(config: &Value, max_tokens: u64) -> Checked {
    match text(&config["type"]) {
        "enabled" => {
            let budget = config["budget_tokens"].as_u64().unwrap_or_default();
            ensure(budget >= 1024, || "thinking.budget_tokens: at least 1024".into())?;
            ensure(budget < max_tokens, || {
                "thinking.budget_tokens: must be less than max_tokens".into()
            })
        }
        "adaptive" | "disabled" => Ok(()),
        kind => ensure(config.is_null(), || format!("thinking.type: unknown {kind:?}")),
    }
}

fn system(system: &Value) -> Checked {
    let known = system.is_null() || system.is_string() || system.is_array();
    ensure(known, || "system: must be text or blocks".into())?;
    for block in list(system) {
        ensure(block["type"] == "text", || "system: only text blocks".into())?;
        ensure(!text(&block["text"]).trim().is_empty(), || "system: empty text".into())?;
    }
    Ok(())
}

fn offers(body: &Value) -> Checked {
    let given = list(&body["tools"]);
    // Those of a type of the vendor's have no schema.
    let functions = given.iter().filter(|tool| matches!(text(&tool["type"]), "" | "custom"));
    tools(functions.map(|tool| (text(&tool["name"]), &tool["input_schema"])), NAME)?;
    let choice = &body["tool_choice"];
    match text(&choice["type"]) {
        "auto" | "any" | "none" => Ok(()),
        "tool" => ensure(given.iter().any(|tool| tool["name"] == choice["name"]), || {
            format!("tool_choice: there is no tool {}", choice["name"])
        }),
        kind => ensure(choice.is_null(), || format!("tool_choice.type: unknown {kind:?}")),
    }
}

/// Marks in a block, its own and those of what it holds.
fn mark(block: &Value) -> Result<usize, String> {
    let inner: usize = list(&block["content"]).iter().map(mark).sum::<Result<_, String>>()?;
    let given = &block["cache_control"];
    if given.is_null() {
        return Ok(inner);
    }
    ensure(given["type"] == "ephemeral", || {
        "cache_control.type: must be ephemeral".into()
    })?;
    ensure(matches!(given["ttl"].as_str(), None | Some("5m" | "1h")), || {
        "cache_control.ttl: must be 5m or 1h".into()
    })?;
    let kind = text(&block["type"]);
    ensure(!kind.ends_with("thinking"), || {
        "cache_control: cannot be set on thinking".into()
    })?;
    Ok(inner + 1)
}

/// A conversation, read from its beginning.
#[derive(Debug, Default)]
struct Talk<'a> {
    /// Who spoke last.
    last: Option<&'a str>,
    /// Calls that wait for results.
    pending: Vec<&'a str>,
    seen: HashSet<&'a str>,
}

impl<'a> Talk<'a> {
    fn message(&mut self, message: &'a Value, issued: &Issued) -> Checked {
        members(message, &["role", "content"])?;
        let role = text(&message["role"]);
        let expected = if self.last == Some("user") { "assistant" } else { "user" };
        // A note of the vendor's harness in mid-turn stands beside what the user says.
        let is_note = role == "system" && self.last.is_some() && self.pending.is_empty();
        ensure(role == expected || is_note, || format!("the role must be {expected}"))?;
        let blocks = list(&message["content"]);
        let words = message["content"].as_str();
        ensure(
            words.map_or(!blocks.is_empty(), |words| !words.trim().is_empty()),
            || "empty content".into(),
        )?;
        if role == "assistant" {
            self.pending = asks(blocks, &mut self.seen, issued)?;
        } else if role == "user" {
            answers(blocks, &std::mem::take(&mut self.pending))?;
        } else {
            blocks.iter().try_for_each(given)?;
        }
        if !is_note {
            self.last = Some(role);
        }
        Ok(())
    }

    fn end(&self) -> Checked {
        ensure(self.last.is_some(), || "messages: empty".into())?;
        ensure(self.last == Some("user"), || {
            "messages: the last one must be the user's".into()
        })
    }
}

/// Checks a user message: it begins with one result for each pending call.
fn answers(blocks: &[Value], pending: &[&str]) -> Checked {
    let mut answered = HashSet::new();
    let mut results_are_over = false;
    for block in blocks {
        if block["type"] != "tool_result" {
            results_are_over = true;
            given(block)?;
            continue;
        }
        let id = text(&block["tool_use_id"]);
        ensure(!results_are_over, || {
            format!("tool_result {id} is not at the beginning")
        })?;
        ensure(pending.contains(&id), || {
            format!("tool_result {id} without its tool_use right before")
        })?;
        ensure(answered.insert(id), || format!("two tool_results for {id}"))?;
        boolean(block, "is_error")?;
        let content = list(&block["content"]);
        let is_empty = content.is_empty() && text(&block["content"]).is_empty();
        ensure(!(is_empty && block["is_error"] == true), || {
            format!("tool_result {id}: an empty error")
        })?;
        content.iter().try_for_each(given)?;
    }
    let missing: Vec<&&str> = pending.iter().filter(|id| !answered.contains(**id)).collect();
    ensure(missing.is_empty(), || format!("no tool_result for {missing:?}"))
}

/// Checks a block of a user or a tool.
fn given(block: &Value) -> Checked {
    match text(&block["type"]) {
        "text" => ensure(!text(&block["text"]).trim().is_empty(), || "empty text".into()),
        kind @ ("image" | "document") => media::source(kind, &block["source"]),
        "search_result" => ensure(block["source"].is_string() && block["content"].is_array(), || {
            "search_result: source and content are required".into()
        }),
        "tool_reference" => Ok(()),
        kind => Err(format!("a block of type {kind:?} has no place here")),
    }
}

/// Checks an assistant message; gives the calls that wait for results.
fn asks<'a>(blocks: &'a [Value], seen: &mut HashSet<&'a str>, issued: &Issued) -> Result<Vec<&'a str>, String> {
    let mut calls = Vec::new();
    for block in blocks {
        match text(&block["type"]) {
            "text" => ensure(!text(&block["text"]).trim().is_empty(), || "empty text".into())?,
            "thinking" | "redacted_thinking" => {
                ensure(is_unchanged(block, issued), || {
                    format!("a thinking block was changed: {block}")
                })?;
            }
            "tool_use" => {
                let id = text(&block["id"]);
                ensure(is_name(id, usize::MAX), || format!("{id:?} is not an id"))?;
                ensure(is_name(text(&block["name"]), NAME), || {
                    format!("{} is not a name", block["name"])
                })?;
                ensure(block["input"].is_object(), || {
                    format!("the input of {id} is not an object")
                })?;
                ensure(seen.insert(id), || format!("two tool_uses with the id {id}"))?;
                for thought in issued.calls.get(id).into_iter().flatten() {
                    ensure(holds(blocks, thought), || {
                        format!("the thinking before {id} is missing")
                    })?;
                }
                calls.push(id);
            }
            kind => return Err(format!("a block of type {kind:?} has no place here")),
        }
    }
    let ends_in_thought = blocks
        .last()
        .is_some_and(|block| text(&block["type"]).ends_with("thinking"));
    ensure(!ends_in_thought, || "the last block is thinking".into())?;
    Ok(calls)
}
