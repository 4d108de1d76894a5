//! Anthropic Messages: blocks, and the events that build them up.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ask, Event, Issued, Told, halves, list, text};
use crate::cue::{Cue, is_words};
use crate::reply::{Answer, Said, Stop};
use crate::sign;

/// Who speaks in mid-turn is a message of the role `system` in one vendor's harness.
pub(super) fn cue(body: &Value) -> Cue {
    let messages = list(&body["messages"]);
    let mut cue = Cue {
        messages: messages.len(),
        ..Cue::default()
    };
    for message in messages {
        if message["role"] == "assistant" {
            cue.step += 1;
            continue;
        }
        let mut said = Vec::new();
        if let Some(words) = message["content"].as_str() {
            said.extend(is_words(words).then_some(words));
        }
        for block in list(&message["content"]) {
            match text(&block["type"]) {
                "tool_result" => cue.result(block["is_error"] == true),
                "text" => said.extend(Some(text(&block["text"])).filter(|words| is_words(words))),
                // A picture is something said, if not something understood.
                _ => said.push(""),
            }
        }
        if !said.is_empty() {
            cue.hear(&said.join("\n"));
        }
    }
    cue
}

/// The blocks of an answer and their events.
pub(super) fn told(answer: &Answer, ask: &Ask<'_>, issued: &mut Issued) -> Told {
    let usage = json!({
        "input_tokens": ask.usage.input,
        "cache_creation_input_tokens": ask.usage.cache_write,
        "cache_read_input_tokens": ask.usage.cached,
        "output_tokens": ask.usage.output.min(1),
        "service_tier": "standard",
    });
    let mut whole = json!({
        "id": format!("msg_{}", ask.id), "type": "message", "role": "assistant", "model": ask.model(),
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
    });
    let mut telling = Telling {
        events: vec![
            Event::new(json!({"type": "message_start", "message": whole})),
            Event::new(json!({"type": "ping"})),
        ],
        blocks: Vec::new(),
    };
    let mut pause = Duration::ZERO;
    let mut thoughts = Vec::new();
    for part in &answer.parts {
        let begin = telling.events.len();
        match part {
            Said::Pause(time) => {
                pause += *time;
                continue;
            }
            Said::Thinking(thought) => thoughts.push(telling.think(thought, ask.nonce)),
            Said::Text(pieces, each) => telling.say(pieces, *each),
            Said::Tool { name, input } => {
                let id = format!("toolu_{}{:02}", ask.id, telling.blocks.len());
                telling.call(&id, &ask.tool(name).name, input);
                issued.call(id, &thoughts);
            }
        }
        telling.events[begin].pause += std::mem::take(&mut pause);
    }
    let delta = json!({"stop_reason": stop_reason(answer), "stop_sequence": null});
    let mut end =
        Event::new(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": ask.usage.output}}));
    end.pause = pause;
    telling.events.push(end);
    telling.events.push(Event::new(json!({"type": "message_stop"})));
    whole["content"] = Value::Array(telling.blocks);
    whole["stop_reason"] = delta["stop_reason"].clone();
    whole["usage"]["output_tokens"] = json!(ask.usage.output);
    Told {
        events: telling.events,
        whole,
    }
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.stop {
        Stop::MaxTokens => "max_tokens",
        Stop::Refusal => "refusal",
        Stop::End if answer.has_tools() => "tool_use",
        Stop::End => "end_turn",
    }
}

struct Telling {
    events: Vec<Event>,
    blocks: Vec<Value>,
}

impl Telling {
    fn start(&mut self, block: &Value) {
        let index = self.blocks.len();
        self.events.push(Event::new(
            json!({"type": "content_block_start", "index": index, "content_block": block}),
        ));
    }

    fn delta(&mut self, delta: &Value) {
        let index = self.blocks.len();
        self.events.push(Event::new(
            json!({"type": "content_block_delta", "index": index, "delta": delta}),
        ));
    }

    fn stop(&mut self, block: Value) {
        let index = self.blocks.len();
        self.events
            .push(Event::new(json!({"type": "content_block_stop", "index": index})));
        self.blocks.push(block);
    }

    fn think(&mut self, thought: &str, nonce: u64) -> Value {
        let signature = sign::sign(nonce + self.blocks.len() as u64, thought);
        self.start(&json!({"type": "thinking", "thinking": "", "signature": ""}));
        self.delta(&json!({"type": "thinking_delta", "thinking": thought}));
        self.delta(&json!({"type": "signature_delta", "signature": signature}));
        let block = json!({"type": "thinking", "thinking": thought, "signature": signature});
        self.stop(block.clone());
        block
    }

    fn say(&mut self, pieces: &[String], each: Duration) {
        self.start(&json!({"type": "text", "text": ""}));
        for piece in pieces {
            self.delta(&json!({"type": "text_delta", "text": piece}));
            if let Some(event) = self.events.last_mut() {
                event.pause = each;
            }
        }
        self.stop(json!({"type": "text", "text": pieces.concat()}));
    }

    fn call(&mut self, id: &str, name: &str, input: &str) {
        self.start(&json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
        for piece in halves(input) {
            self.delta(&json!({"type": "input_json_delta", "partial_json": piece}));
        }
        let input: Value = serde_json::from_str(input).unwrap_or_default();
        self.stop(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    }
}
