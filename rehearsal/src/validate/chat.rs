//! OpenAI Chat Completions requests, as OpenAI and most compatible servers check them.

use std::collections::HashSet;

use serde_json::Value;

use super::{Checked, boolean, ensure, is_name, media, members, number, tools};
use crate::wire::{list, text};

const KNOWN: [&str; 38] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "seed",
    "user",
    "metadata",
    "store",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "web_search_options",
    "functions",
    "function_call",
    "usage",
];
/// Longest name of a function.
const NAME: usize = 64;

/// Checks a request.
///
/// # Errors
/// What is wrong, in words.
pub fn check(body: &Value) -> Checked {
    ensure(body.is_object(), || "the request is not a JSON object".into())?;
    members(body, &KNOWN)?;
    ensure(!text(&body["model"]).is_empty(), || "model: required".into())?;
    for max in ["max_tokens", "max_completion_tokens"] {
        let given = &body[max];
        ensure(given.is_null() || given.as_u64().is_some_and(|max| max > 0), || {
            format!("{max}: must be at least 1")
        })?;
    }
    ensure(body["n"].is_null() || body["n"] == 1, || {
        "n: only one answer is given here".into()
    })?;
    ensure(body["stream_options"].is_null() || body["stream"] == true, || {
        "stream_options: only with stream".into()
    })?;
    boolean(body, "stream")?;
    number(body, "temperature", 0.0..=2.0)?;
    number(body, "top_p", 0.0..=1.0)?;
    offers(&body["tools"])?;
    let messages = list(&body["messages"]);
    ensure(!messages.is_empty(), || "messages: empty".into())?;
    let mut talk = Talk::default();
    for (index, message) in messages.iter().enumerate() {
        talk.message(message)
            .map_err(|problem| format!("messages[{index}]: {problem}"))?;
    }
    talk.settled()?;
    ensure(talk.last != "assistant", || {
        "messages: the last one must not be the assistant's".into()
    })
}

fn offers(given: &Value) -> Checked {
    let given = list(given);
    for tool in given {
        ensure(matches!(text(&tool["type"]), "function" | "custom"), || {
            format!("tools: type {} is not a function", tool["type"])
        })?;
    }
    let functions = given.iter().filter(|tool| tool["type"] == "function");
    tools(
        functions.map(|tool| (text(&tool["function"]["name"]), &tool["function"]["parameters"])),
        NAME,
    )
}

/// A conversation, read from its beginning.
#[derive(Debug, Default)]
struct Talk<'a> {
    last: &'a str,
    /// Calls that wait for results.
    pending: HashSet<&'a str>,
    seen: HashSet<&'a str>,
}

impl<'a> Talk<'a> {
    fn settled(&self) -> Checked {
        ensure(self.pending.is_empty(), || {
            format!("no tool message for {:?}", self.pending)
        })
    }

    fn message(&mut self, message: &'a Value) -> Checked {
        let role = text(&message["role"]);
        let content = &message["content"];
        if role != "tool" {
            self.settled()?;
        }
        match role {
            "system" | "developer" => parts(content, &["text"])?,
            "user" => parts(content, &["text", "image_url", "file", "input_audio"])?,
            "tool" => {
                let id = text(&message["tool_call_id"]);
                ensure(self.pending.remove(id), || {
                    format!("a tool message for {id:?}, which no call right before asked for, or twice")
                })?;
                // A tool may have nothing to say.
                if content.as_str() != Some("") {
                    parts(content, &["text"])?;
                }
            }
            "assistant" => self.assistant(message)?,
            role => return Err(format!("unknown role {role:?}")),
        }
        self.last = role;
        Ok(())
    }

    fn assistant(&mut self, message: &'a Value) -> Checked {
        let calls = list(&message["tool_calls"]);
        ensure(message["tool_calls"].is_null() || !calls.is_empty(), || {
            "tool_calls: empty".into()
        })?;
        let silent = message["content"].is_null() && message["refusal"].is_null();
        ensure(!(silent && calls.is_empty()), || {
            "content: required without tool_calls".into()
        })?;
        if !message["content"].is_null() && (calls.is_empty() || message["content"] != "") {
            parts(&message["content"], &["text", "refusal"])?;
        }
        for call in calls {
            let id = text(&call["id"]);
            ensure(!id.is_empty() && id.len() <= 64, || format!("{id:?} is not an id"))?;
            ensure(call["type"] == "function", || format!("the call {id} is no function"))?;
            let function = &call["function"];
            ensure(is_name(text(&function["name"]), NAME), || {
                format!("{} is not a name", function["name"])
            })?;
            let arguments: Result<Value, _> = serde_json::from_str(text(&function["arguments"]));
            ensure(arguments.is_ok_and(|arguments| arguments.is_object()), || {
                format!("the arguments of {id} are no object")
            })?;
            ensure(self.seen.insert(id), || format!("two calls {id}"))?;
            self.pending.insert(id);
        }
        Ok(())
    }
}

fn parts(content: &Value, allowed: &[&str]) -> Checked {
    if let Some(words) = content.as_str() {
        return ensure(!words.trim().is_empty(), || "empty content".into());
    }
    let parts = list(content);
    ensure(!parts.is_empty(), || "empty content".into())?;
    for part in parts {
        let kind = text(&part["type"]);
        ensure(allowed.contains(&kind), || {
            format!("a part of type {kind:?} has no place here")
        })?;
        match kind {
            "image_url" => media::image_url(&part["image_url"]["url"])?,
            "file" if part["file"]["file_id"].is_string() => {}
            "file" => media::file_data(&part["file"]["file_data"])?,
            "text" => ensure(!text(&part["text"]).trim().is_empty(), || "empty text".into())?,
            _ => {}
        }
    }
    Ok(())
}
