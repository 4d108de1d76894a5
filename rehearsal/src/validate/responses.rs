//! OpenAI Responses requests.

use std::collections::HashMap;

use serde_json::Value;

use super::{Checked, Issued, boolean, ensure, holds, is_name, is_unchanged, media, members, number, tools};
use crate::wire::{list, text};

const KNOWN: [&str; 31] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "reasoning",
    "store",
    "stream",
    "stream_options",
    "include",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "background",
    "conversation",
    "previous_response_id",
    "prompt",
    "client_metadata",
    "verbosity",
    "context_management",
];
/// Longest name of a function.
const NAME: usize = 64;
/// Tools the vendor runs, or that take no schema.
const BUILT_IN: [&str; 12] = [
    "custom",
    "web_search",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "computer_use_preview",
    "image_generation",
    "local_shell",
    "shell",
    "apply_patch",
    "mcp",
    "tool_search",
];

/// Checks a request.
///
/// # Errors
/// What is wrong, in words.
pub fn check(body: &Value, issued: &Issued) -> Checked {
    ensure(body.is_object(), || "the request is not a JSON object".into())?;
    members(body, &KNOWN)?;
    ensure(!text(&body["model"]).is_empty(), || "model: required".into())?;
    let max = &body["max_output_tokens"];
    ensure(max.is_null() || max.as_u64().is_some_and(|max| max >= 16), || {
        "max_output_tokens: at least 16".into()
    })?;
    for stored in ["previous_response_id", "conversation", "prompt"] {
        ensure(body[stored].is_null(), || {
            format!("{stored}: not found, nothing is stored here")
        })?;
    }
    boolean(body, "store")?;
    boolean(body, "stream")?;
    number(body, "temperature", 0.0..=2.0)?;
    number(body, "top_p", 0.0..=1.0)?;
    offers(&body["tools"])?;
    if let Some(words) = body["input"].as_str() {
        return ensure(!words.is_empty(), || "input: empty".into());
    }
    let items = list(&body["input"]);
    ensure(!items.is_empty(), || "input: empty".into())?;
    let mut calls: HashMap<&str, bool> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let rest = &items[index + 1..];
        let checked = match text(&item["type"]) {
            "message" => message_in_turn(item, &calls),
            "" if item["role"].is_string() => message_in_turn(item, &calls),
            "reasoning" => reasoning(item, rest, issued),
            "function_call" | "custom_tool_call" => call(item, &items[..index], &mut calls, issued),
            "function_call_output" | "custom_tool_call_output" => output(item, &mut calls),
            kind => Err(format!("unknown type {kind:?}")),
        };
        checked.map_err(|problem| format!("input[{index}]: {problem}"))?;
    }
    let open: Vec<&&str> = calls
        .iter()
        .filter(|(_, answered)| !**answered)
        .map(|(id, _)| id)
        .collect();
    ensure(open.is_empty(), || format!("no tool output found for {open:?}"))
}

fn offers(given: &Value) -> Checked {
    let mut functions = Vec::new();
    for tool in list(given) {
        match text(&tool["type"]) {
            "function" => functions.push(tool),
            "namespace" => {
                let inner = list(&tool["tools"]);
                ensure(is_name(text(&tool["name"]), NAME) && !inner.is_empty(), || {
                    "tools: a namespace without a name or without tools".into()
                })?;
                let named = inner.iter().filter(|tool| tool["type"] == "function");
                tools(named.map(|tool| (text(&tool["name"]), &tool["parameters"])), NAME)?;
            }
            kind => ensure(BUILT_IN.contains(&kind), || {
                format!("tools: type {} is not a function, nor any other there is", tool["type"])
            })?,
        }
    }
    tools(
        functions
            .into_iter()
            .map(|tool| (text(&tool["name"]), &tool["parameters"])),
        NAME,
    )
}

fn message_in_turn(item: &Value, calls: &HashMap<&str, bool>) -> Checked {
    let open = calls.iter().find(|(_, answered)| !**answered);
    open.map_or_else(
        || message(item),
        |(id, _)| Err(format!("a message before the output of {id}")),
    )
}

fn message(item: &Value) -> Checked {
    let allowed: &[&str] = match text(&item["role"]) {
        "user" => &["input_text", "input_image", "input_file"],
        "system" | "developer" => &["input_text"],
        "assistant" => &["output_text", "refusal"],
        role => return Err(format!("unknown role {role:?}")),
    };
    if let Some(words) = item["content"].as_str() {
        return ensure(!words.trim().is_empty(), || "empty content".into());
    }
    let content = list(&item["content"]);
    ensure(!content.is_empty(), || "empty content".into())?;
    content.iter().try_for_each(|part| part_of(part, allowed))
}

fn part_of(part: &Value, allowed: &[&str]) -> Checked {
    let kind = text(&part["type"]);
    ensure(allowed.contains(&kind), || {
        format!("a part of type {kind:?} has no place here")
    })?;
    match kind {
        "input_image" if part["file_id"].is_string() => Ok(()),
        "input_image" => media::image_url(&part["image_url"]),
        "input_file" if part["file_url"].is_string() || part["file_id"].is_string() => Ok(()),
        "input_file" => media::file_data(&part["file_data"]),
        "refusal" => Ok(()),
        _ => ensure(!text(&part["text"]).trim().is_empty(), || "empty text".into()),
    }
}

fn reasoning(item: &Value, rest: &[Value], issued: &Issued) -> Checked {
    ensure(is_unchanged(item, issued), || {
        format!("a reasoning item was changed: {item}")
    })?;
    let followed = rest.first().is_some_and(|next| match text(&next["type"]) {
        "function_call" | "custom_tool_call" | "reasoning" => true,
        "message" => next["role"] == "assistant",
        _ => false,
    });
    ensure(followed, || {
        format!("reasoning {} without its required following item", item["id"])
    })
}

fn call<'a>(item: &'a Value, before: &[Value], calls: &mut HashMap<&'a str, bool>, issued: &Issued) -> Checked {
    let id = text(&item["call_id"]);
    ensure(is_name(id, 64), || format!("{id:?} is not a call_id"))?;
    ensure(is_name(text(&item["name"]), NAME), || {
        format!("{} is not a name", item["name"])
    })?;
    if item["type"] == "custom_tool_call" {
        ensure(item["input"].is_string(), || format!("the input of {id} is no text"))?;
    } else {
        let arguments: Result<Value, _> = serde_json::from_str(text(&item["arguments"]));
        ensure(arguments.is_ok_and(|arguments| arguments.is_object()), || {
            format!("the arguments of {id} are no object")
        })?;
    }
    ensure(calls.insert(id, false).is_none(), || format!("two calls {id}"))?;
    for thought in issued.calls.get(id).into_iter().flatten() {
        ensure(holds(before, thought), || {
            format!("the reasoning before {id} is missing")
        })?;
    }
    Ok(())
}

fn output<'a>(item: &'a Value, calls: &mut HashMap<&'a str, bool>) -> Checked {
    let id = text(&item["call_id"]);
    match calls.get_mut(id) {
        None => return Err(format!("no call found for the output {id}")),
        Some(true) => return Err(format!("two outputs for {id}")),
        Some(answered) => *answered = true,
    }
    if item["output"].is_string() {
        return Ok(());
    }
    let allowed = ["input_text", "input_image", "input_file"];
    ensure(!list(&item["output"]).is_empty(), || format!("output {id} is empty"))?;
    list(&item["output"])
        .iter()
        .try_for_each(|part| part_of(part, &allowed))
}
