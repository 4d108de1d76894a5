//! What vendors refuse. Stricter than they are where they repair in silence: what they repair, we should not have sent.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// What a server gave out and expects back unchanged.
#[derive(Clone, Debug, Default)]
pub struct Issued {
    /// Thinking blocks, reasoning items.
    pub thoughts: Vec<Value>,
    /// By call: the thoughts that led to it and must stand before it.
    pub calls: HashMap<String, Vec<Value>>,
}

type Checked = Result<(), String>;

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(problem()) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn tools<'a>(tools: impl Iterator<Item = (&'a str, &'a Value)>) -> Checked {
    let mut names = HashSet::new();
    for (name, schema) in tools {
        ensure(is_name(name), || format!("tools: {name:?} is not a name"))?;
        ensure(names.insert(name), || format!("tools: {name:?} is there twice"))?;
        ensure(schema["type"] == "object", || {
            format!("tools: the schema of {name:?} is not of an object")
        })?;
    }
    Ok(())
}

/// Checks a Messages request.
///
/// # Errors
/// What is wrong, in words.
pub fn anthropic(body: &Value, issued: &Issued) -> Checked {
    ensure(!text(&body["model"]).is_empty(), || "model: required".into())?;
    ensure(body["max_tokens"].as_u64().is_some_and(|max| max > 0), || {
        "max_tokens: required".into()
    })?;
    ensure(cache_marks(body) <= 4, || "cache_control: more than 4".into())?;
    for block in list(&body["system"]) {
        ensure(!text(&block["text"]).trim().is_empty(), || "system: empty text".into())?;
    }
    tools(
        list(&body["tools"])
            .iter()
            .map(|tool| (text(&tool["name"]), &tool["input_schema"])),
    )?;
    let messages = list(&body["messages"]);
    ensure(!messages.is_empty(), || "messages: empty".into())?;
    let mut seen = HashSet::new();
    let mut pending: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = |problem: String| format!("messages.{index}: {problem}");
        let role = if index % 2 == 0 { "user" } else { "assistant" };
        ensure(message["role"] == role, || at(format!("the role must be {role}")))?;
        if message["content"].is_string() {
            ensure(!text(&message["content"]).trim().is_empty(), || {
                at("empty content".into())
            })?;
            ensure(pending.is_empty(), || at(format!("no tool_result for {pending:?}")))?;
            continue;
        }
        let blocks = list(&message["content"]);
        ensure(!blocks.is_empty(), || at("empty content".into()))?;
        if role == "user" {
            answers(blocks, &std::mem::take(&mut pending)).map_err(at)?;
        } else {
            pending = asks(blocks, &mut seen, issued).map_err(at)?;
        }
    }
    ensure(messages.len() % 2 == 1, || {
        "messages: the last one must be the user's".into()
    })
}

fn cache_marks(value: &Value) -> usize {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| usize::from(key == "cache_control") + cache_marks(value))
            .sum(),
        Value::Array(values) => values.iter().map(cache_marks).sum(),
        _ => 0,
    }
}

/// Checks a user message: it begins with one result for each pending call.
fn answers(blocks: &[Value], pending: &[&str]) -> Checked {
    let mut answered = HashSet::new();
    let mut results_are_over = false;
    for block in blocks {
        match text(&block["type"]) {
            "tool_result" => {
                let id = text(&block["tool_use_id"]);
                ensure(!results_are_over, || {
                    format!("tool_result {id} is not at the beginning")
                })?;
                ensure(pending.contains(&id), || {
                    format!("tool_result {id} without its tool_use right before")
                })?;
                ensure(answered.insert(id), || format!("two tool_results for {id}"))?;
                let content = list(&block["content"]);
                let is_empty = content.is_empty() && text(&block["content"]).is_empty();
                ensure(!(is_empty && block["is_error"] == true), || {
                    format!("tool_result {id}: an empty error")
                })?;
                content.iter().try_for_each(given)?;
            }
            _ => {
                results_are_over = true;
                given(block)?;
            }
        }
    }
    let missing: Vec<&&str> = pending.iter().filter(|id| !answered.contains(**id)).collect();
    ensure(missing.is_empty(), || format!("no tool_result for {missing:?}"))
}

/// Checks a block of a user or a tool.
fn given(block: &Value) -> Checked {
    match text(&block["type"]) {
        "text" => ensure(!text(&block["text"]).trim().is_empty(), || "empty text".into()),
        kind @ ("image" | "document") => ensure(block["source"]["type"].is_string(), || {
            format!("{kind} without a source")
        }),
        "search_result" => Ok(()),
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
                ensure(issued.thoughts.contains(block), || {
                    format!("a thinking block was changed: {block}")
                })?;
            }
            "tool_use" => {
                let id = text(&block["id"]);
                ensure(is_name(id), || format!("{id:?} is not an id"))?;
                ensure(is_name(text(&block["name"])), || {
                    format!("{} is not a name", block["name"])
                })?;
                ensure(block["input"].is_object(), || {
                    format!("the input of {id} is not an object")
                })?;
                ensure(seen.insert(id), || format!("two tool_uses with the id {id}"))?;
                for thought in issued.calls.get(id).into_iter().flatten() {
                    ensure(blocks.contains(thought), || {
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

/// Checks a Responses request.
///
/// # Errors
/// What is wrong, in words.
pub fn openai(body: &Value, issued: &Issued) -> Checked {
    ensure(!text(&body["model"]).is_empty(), || "model: required".into())?;
    ensure(body["store"] == false, || "store: nothing is to be stored".into())?;
    let max = body["max_output_tokens"].as_u64();
    ensure(max.is_none_or(|max| max >= 16), || {
        "max_output_tokens: at least 16".into()
    })?;
    for tool in list(&body["tools"]) {
        ensure(tool["type"] == "function", || {
            format!("tools: type {} is not a function", tool["type"])
        })?;
    }
    tools(
        list(&body["tools"])
            .iter()
            .map(|tool| (text(&tool["name"]), &tool["parameters"])),
    )?;
    let items = list(&body["input"]);
    ensure(!items.is_empty(), || "input: empty".into())?;
    let mut calls: HashMap<&str, bool> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let rest = &items[index + 1..];
        let checked = match text(&item["type"]) {
            "message" => {
                let open = calls.iter().find(|(_, answered)| !**answered);
                open.map_or_else(
                    || message(item),
                    |(id, _)| Err(format!("a message before the output of {id}")),
                )
            }
            "reasoning" => reasoning(item, rest, issued),
            "function_call" => function_call(item, &items[..index], &mut calls, issued),
            "function_call_output" => function_output(item, &mut calls),
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

fn message(item: &Value) -> Checked {
    let allowed: &[&str] = match text(&item["role"]) {
        "user" => &["input_text", "input_image", "input_file"],
        "assistant" => &["output_text", "refusal"],
        role => return Err(format!("unknown role {role:?}")),
    };
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
        "input_image" => ensure(part["image_url"].is_string(), || "an image without its URL".into()),
        "input_file" => ensure(part["file_data"].is_string() || part["file_url"].is_string(), || {
            "an empty file".into()
        }),
        "refusal" => Ok(()),
        _ => ensure(!text(&part["text"]).trim().is_empty(), || "empty text".into()),
    }
}

fn reasoning(item: &Value, rest: &[Value], issued: &Issued) -> Checked {
    ensure(issued.thoughts.contains(item), || {
        format!("a reasoning item was changed: {item}")
    })?;
    let followed = rest.first().is_some_and(|next| match text(&next["type"]) {
        "function_call" | "reasoning" => true,
        "message" => next["role"] == "assistant",
        _ => false,
    });
    ensure(followed, || {
        format!("reasoning {} without its required following item", item["id"])
    })
}

fn function_call<'a>(
    item: &'a Value,
    before: &[Value],
    calls: &mut HashMap<&'a str, bool>,
    issued: &Issued,
) -> Checked {
    let id = text(&item["call_id"]);
    ensure(is_name(id), || format!("{id:?} is not a call_id"))?;
    ensure(is_name(text(&item["name"])), || {
        format!("{} is not a name", item["name"])
    })?;
    let arguments: Result<Value, _> = serde_json::from_str(text(&item["arguments"]));
    ensure(arguments.is_ok_and(|arguments| arguments.is_object()), || {
        format!("the arguments of {id} are no object")
    })?;
    ensure(calls.insert(id, false).is_none(), || format!("two calls {id}"))?;
    for thought in issued.calls.get(id).into_iter().flatten() {
        ensure(before.contains(thought), || {
            format!("the reasoning before {id} is missing")
        })?;
    }
    Ok(())
}

fn function_output<'a>(item: &'a Value, calls: &mut HashMap<&'a str, bool>) -> Checked {
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
