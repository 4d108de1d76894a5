//! Answers from the rehearsal script in the newest prompt, so that one prompt drives the rehearsal and the vendors' models
//! alike. Each answer begins with a thought, which makes every conversation a test of its replay.

use std::collections::HashMap;

use perennial_worker::model::rehearsal::script::{self, Act};
use serde_json::Value;

use super::Vendor;
use super::reply::{Answer, Reply, Said};

/// Where a conversation is: its newest prompt, and the model's steps since.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cue {
    prompt: String,
    step: usize,
}

/// The answer to a (valid) request. Failures are counted by prompt and step.
pub(super) fn reply(vendor: Vendor, body: &Value, failed: &mut HashMap<(String, usize), usize>) -> Reply {
    let cue = match vendor {
        Vendor::Anthropic => anthropic(body),
        Vendor::OpenAi => openai(body),
    };
    let script = match script::parse(&cue.prompt) {
        Ok(Some(script)) => script,
        Ok(None) => {
            return Answer::new()
                .thinking("no script")
                .text(&["scripted: ", "no script in the prompt"])
                .into();
        }
        Err(malformed) => return Answer::new().text(&["scripted: ", &malformed.to_string()]).into(),
    };
    let Some(step) = script.steps.get(cue.step) else {
        return Answer::new()
            .thinking("the end")
            .text(&["scripted: ", "the script is done"])
            .into();
    };
    let spot = (cue.prompt.clone(), cue.step);
    let count = failed.entry(spot.clone()).or_default();
    if let Some(status) = step.failures.get(*count) {
        *count += 1;
        return Reply::error(*status, "scripted_error", "asked for with /fail");
    }
    failed.remove(&spot);
    let mut answer = Answer::new().thinking(&format!("step {}", cue.step));
    for act in &step.acts {
        answer = answer.and(said(act));
    }
    if !step.has_tools() && !step.has_words() {
        answer = answer.text(&["scripted: ", "the script is done"]);
    }
    answer.into()
}

fn said(act: &Act) -> Said {
    match act {
        Act::Say(text) => Said::Text(
            text.split_inclusive(' ').map(str::to_owned).collect(),
            std::time::Duration::ZERO,
        ),
        Act::Tokens { count, each } => Said::Text((1..=*count).map(|n| format!(" {n}")).collect(), *each),
        Act::Sleep(time) => Said::Pause(*time),
        Act::Tool { name, input } => Said::Tool {
            name: name.clone(),
            input: input.text().to_owned(),
        },
    }
}

fn anthropic(body: &Value) -> Cue {
    let mut cue = Cue::default();
    for message in body["messages"].as_array().into_iter().flatten() {
        if message["role"] == "assistant" {
            cue.step += 1;
            continue;
        }
        let said: Vec<&str> = match &message["content"] {
            Value::String(text) => vec![text],
            blocks => blocks
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|block| block["text"].as_str())
                .collect(),
        };
        if !said.is_empty() {
            cue = Cue {
                prompt: said.join("\n"),
                step: 0,
            };
        }
    }
    cue
}

/// There are no messages of steps here, only items: a step is a run of the model's items.
fn openai(body: &Value) -> Cue {
    let mut cue = Cue::default();
    let mut models_turn = false;
    for item in body["input"].as_array().into_iter().flatten() {
        let prompt = item["type"] == "message" && item["role"] == "user";
        let models = !prompt && item["type"] != "function_call_output";
        if models && !models_turn {
            cue.step += 1;
        }
        models_turn = models;
        if prompt {
            let content = item["content"].as_array().into_iter().flatten();
            let said: Vec<&str> = content.filter_map(|part| part["text"].as_str()).collect();
            cue = Cue {
                prompt: said.join("\n"),
                step: 0,
            };
        }
    }
    cue
}
