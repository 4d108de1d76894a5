//! OpenAI Chat Completions: one message, and the chunks that build it up. Thoughts are the `reasoning_content` that
//! compatible servers send; nobody expects them back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ask, Event, Issued, Told, halves, list, responses, text};
use crate::cue::Cue;
use crate::reply::{Answer, Said, Stop};

pub(super) fn cue(body: &Value) -> Cue {
    let messages = list(&body["messages"]);
    let mut cue = Cue {
        messages: messages.len(),
        ..Cue::default()
    };
    for message in messages {
        match text(&message["role"]) {
            "assistant" => cue.step += 1,
            "tool" | "function" => cue.result(false),
            "user" => {
                if let Some(words) = responses::words(&message["content"]) {
                    cue.hear(&words);
                }
            }
            _ => {}
        }
    }
    cue
}

/// The message of an answer and its chunks.
pub(super) fn told(answer: &Answer, ask: &Ask<'_>, _: &mut Issued) -> Told {
    let id = format!("chatcmpl-{}", ask.id);
    let mut telling = Telling {
        chunk: json!({"id": id, "object": "chat.completion.chunk", "created": 0, "model": ask.model(),
            "system_fingerprint": null, "choices": []}),
        events: Vec::new(),
        message: json!({"role": "assistant", "content": null}),
        calls: Vec::new(),
    };
    telling.delta(&json!({"role": "assistant", "content": ""}));
    let mut pause = Duration::ZERO;
    for part in &answer.parts {
        let begin = telling.events.len();
        match part {
            Said::Pause(time) => {
                pause += *time;
                continue;
            }
            Said::Thinking(thought) => telling.say("reasoning_content", std::slice::from_ref(thought), Duration::ZERO),
            Said::Text(pieces, each) if answer.stop == Stop::Refusal => telling.say("refusal", pieces, *each),
            Said::Text(pieces, each) => telling.say("content", pieces, *each),
            Said::Tool { name, input } => {
                let id = format!("call_{}{:02}", ask.id, telling.calls.len());
                telling.call(&id, &ask.tool(name).name, input);
            }
        }
        if let Some(event) = telling.events.get_mut(begin) {
            event.pause += std::mem::take(&mut pause);
        }
    }
    let input = ask.usage.input + ask.usage.cached + ask.usage.cache_write;
    let usage = json!({"prompt_tokens": input, "prompt_tokens_details": {"cached_tokens": ask.usage.cached},
        "completion_tokens": ask.usage.output, "total_tokens": input + ask.usage.output});
    let reason = match answer.stop {
        Stop::MaxTokens => "length",
        Stop::Refusal => "content_filter",
        Stop::End if answer.has_tools() => "tool_calls",
        Stop::End => "stop",
    };
    telling.end(reason, pause);
    if ask.body["stream_options"]["include_usage"] == true {
        let mut last = telling.chunk.clone();
        last["usage"] = usage.clone();
        telling.events.push(Event::new(last));
    }
    if !telling.calls.is_empty() {
        telling.message["tool_calls"] = Value::Array(telling.calls);
    }
    let choice = json!({"index": 0, "message": telling.message, "logprobs": null, "finish_reason": reason});
    Told {
        events: telling.events,
        whole: json!({"id": id, "object": "chat.completion", "created": 0, "model": ask.model(), "choices": [choice],
            "usage": usage}),
    }
}

struct Telling {
    chunk: Value,
    events: Vec<Event>,
    message: Value,
    calls: Vec<Value>,
}

impl Telling {
    fn delta(&mut self, delta: &Value) {
        let mut chunk = self.chunk.clone();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
        self.events.push(Event::new(chunk));
    }

    fn say(&mut self, member: &str, pieces: &[String], each: Duration) {
        for piece in pieces {
            self.delta(&json!({member: piece}));
            if let Some(event) = self.events.last_mut() {
                event.pause = each;
            }
        }
        let said = format!("{}{}", text(&self.message[member]), pieces.concat());
        self.message[member] = json!(said);
    }

    fn call(&mut self, id: &str, name: &str, input: &str) {
        let index = self.calls.len();
        let function = json!({"name": name, "arguments": ""});
        self.delta(&json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}));
        for piece in halves(input) {
            self.delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
        }
        let function = json!({"name": name, "arguments": input});
        self.calls
            .push(json!({"id": id, "type": "function", "function": function}));
    }

    fn end(&mut self, reason: &str, pause: Duration) {
        let mut chunk = self.chunk.clone();
        chunk["choices"] = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]);
        self.events.push(Event { data: chunk, pause });
    }
}
