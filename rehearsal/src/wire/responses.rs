//! OpenAI Responses: items, and the events that build them up.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ask, Event, Issued, Told, halves, list, text};
use crate::cue::{Cue, is_words};
use crate::reply::{Answer, Said, Stop};
use crate::sign;

/// There are no messages of steps here, only items: a step is a run of the model's items.
pub(super) fn cue(body: &Value) -> Cue {
    let mut cue = Cue::default();
    if let Some(words) = body["input"].as_str() {
        cue.messages = 1;
        cue.hear(words);
    }
    let mut models_turn = false;
    for item in list(&body["input"]) {
        let kind = text(&item["type"]);
        let role = text(&item["role"]);
        let is_output = kind.ends_with("_output");
        let is_models = !is_output && (role == "assistant" || role.is_empty());
        cue.messages += usize::from(!role.is_empty());
        cue.step += usize::from(is_models && !models_turn);
        models_turn = is_models;
        if is_output {
            cue.result(false);
        }
        if role == "user"
            && let Some(words) = words(&item["content"])
        {
            cue.hear(&words);
        }
    }
    cue
}

/// What a user's message says; a picture is something said, if not something understood.
pub(super) fn words(content: &Value) -> Option<String> {
    if let Some(words) = content.as_str() {
        return is_words(words).then(|| words.to_owned());
    }
    let said: Vec<&str> = list(content)
        .iter()
        .map(|part| text(&part["text"]))
        .filter(|words| words.is_empty() || is_words(words))
        .collect();
    (!said.is_empty()).then(|| said.join("\n").trim().to_owned())
}

/// The items of an answer and their events.
pub(super) fn told(answer: &Answer, ask: &Ask<'_>, issued: &mut Issued) -> Told {
    let id = format!("resp_{}", ask.id);
    let base = json!({"id": id, "object": "response", "created_at": 0, "model": ask.model(), "status": "in_progress",
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "output": [],
        "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": null});
    let mut telling = Telling {
        events: vec![
            Event::new(json!({"type": "response.created", "response": base})),
            Event::new(json!({"type": "response.in_progress", "response": base})),
        ],
        output: Vec::new(),
    };
    let mut pause = Duration::ZERO;
    let mut thoughts = Vec::new();
    for part in &answer.parts {
        let (begin, index) = (telling.events.len(), telling.output.len());
        let item_id = |prefix: &str| format!("{prefix}_{}{index:02}", ask.id);
        match part {
            Said::Pause(time) => {
                pause += *time;
                continue;
            }
            Said::Thinking(thought) => thoughts.push(telling.think(&item_id("rs"), ask.nonce, thought)),
            Said::Text(pieces, each) => telling.say(&item_id("msg"), pieces, *each, answer.stop),
            Said::Tool { name, input } => {
                let call_id = item_id("call");
                let tool = ask.tool(name);
                let mut item = if tool.is_custom {
                    json!({"id": item_id("ctc"), "type": "custom_tool_call", "status": "completed", "call_id": call_id,
                        "name": tool.name, "input": input})
                } else {
                    json!({"id": item_id("fc"), "type": "function_call", "status": "completed", "call_id": call_id,
                        "name": tool.name, "arguments": input})
                };
                if let Some(namespace) = tool.namespace {
                    item["namespace"] = json!(namespace);
                }
                telling.call(item, if tool.is_custom { "input" } else { "arguments" });
                issued.call(call_id, &thoughts);
            }
        }
        telling.events[begin].pause += std::mem::take(&mut pause);
    }
    let input = ask.usage.input + ask.usage.cached + ask.usage.cache_write;
    let mut whole = base;
    whole["status"] = json!("completed");
    whole["output"] = Value::Array(telling.output);
    whole["usage"] = json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": ask.usage.cached},
        "output_tokens": ask.usage.output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + ask.usage.output,
    });
    if answer.stop == Stop::MaxTokens {
        whole["status"] = json!("incomplete");
        whole["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    let kind = format!("response.{}", text(&whole["status"]));
    telling.events.push(Event {
        data: json!({"type": kind, "response": whole}),
        pause,
    });
    let mut events = telling.events;
    for (number, event) in events.iter_mut().enumerate() {
        event.data["sequence_number"] = json!(number);
    }
    Told { events, whole }
}

struct Telling {
    events: Vec<Event>,
    output: Vec<Value>,
}

impl Telling {
    fn event(&mut self, kind: &str, mut members: Value) {
        let mut data = json!({"type": format!("response.{kind}"), "output_index": self.output.len()});
        if let (Some(data), Some(members)) = (data.as_object_mut(), members.as_object_mut()) {
            data.append(members);
        }
        self.events.push(Event::new(data));
    }

    fn done(&mut self, item: Value) {
        self.event("output_item.done", json!({"item": item}));
        self.output.push(item);
    }

    fn think(&mut self, id: &str, nonce: u64, thought: &str) -> Value {
        let encrypted = sign::sign(nonce + self.output.len() as u64, thought);
        let mut item = json!({"id": id, "type": "reasoning", "summary": []});
        self.event("output_item.added", json!({"item": item}));
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        let at = |members: Value| {
            let mut at = json!({"item_id": id, "summary_index": 0});
            if let (Some(at), Value::Object(mut members)) = (at.as_object_mut(), members) {
                at.append(&mut members);
            }
            at
        };
        self.event("reasoning_summary_part.added", at(json!({"part": part("")})));
        self.event("reasoning_summary_text.delta", at(json!({"delta": thought})));
        self.event("reasoning_summary_text.done", at(json!({"text": thought})));
        self.event("reasoning_summary_part.done", at(json!({"part": part(thought)})));
        item["summary"] = json!([part(thought)]);
        item["encrypted_content"] = json!(encrypted);
        self.done(item.clone());
        item
    }

    fn say(&mut self, id: &str, pieces: &[String], each: Duration, stop: Stop) {
        let (kind, member) = match stop {
            Stop::Refusal => ("refusal", "refusal"),
            Stop::End | Stop::MaxTokens => ("output_text", "text"),
        };
        let part = |text: &str| match stop {
            Stop::Refusal => json!({"type": kind, member: text}),
            Stop::End | Stop::MaxTokens => json!({"type": kind, member: text, "annotations": []}),
        };
        let mut item =
            json!({"id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": []});
        self.event("output_item.added", json!({"item": item}));
        self.event(
            "content_part.added",
            json!({"item_id": id, "content_index": 0, "part": part("")}),
        );
        for piece in pieces {
            let members = json!({"item_id": id, "content_index": 0, "delta": piece});
            self.event(&format!("{kind}.delta"), members);
            if let Some(event) = self.events.last_mut() {
                event.pause = each;
            }
        }
        let text = pieces.concat();
        self.event(
            &format!("{kind}.done"),
            json!({"item_id": id, "content_index": 0, member: text}),
        );
        let part = part(&text);
        self.event(
            "content_part.done",
            json!({"item_id": id, "content_index": 0, "part": part}),
        );
        item["content"] = json!([part]);
        item["status"] = json!("completed");
        self.done(item);
    }

    fn call(&mut self, item: Value, member: &str) {
        let input = text(&item[member]).to_owned();
        let mut added = item.clone();
        added[member] = json!("");
        added["status"] = json!("in_progress");
        self.event("output_item.added", json!({"item": added}));
        let kind = if member == "input" {
            "custom_tool_call_input"
        } else {
            "function_call_arguments"
        };
        for piece in halves(&input) {
            self.event(&format!("{kind}.delta"), json!({"item_id": item["id"], "delta": piece}));
        }
        self.event(&format!("{kind}.done"), json!({"item_id": item["id"], member: input}));
        self.done(item);
    }
}
