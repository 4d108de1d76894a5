//! An answer as the events of a Responses stream.

use serde_json::{Value, json};

use super::reply::{Answer, Event, Said, Stop};
use super::validate::Issued;

/// Events of the `n`th answer; what must come back unchanged is kept in `issued`.
pub(super) fn events(answer: &Answer, n: u64, issued: &mut Issued) -> Vec<Event> {
    let id = format!("resp_{n}");
    let created = json!({"id": id, "object": "response", "status": "in_progress", "output": []});
    let mut events = vec![Event::new(json!({"type": "response.created", "response": created}))];
    let mut pause = std::time::Duration::ZERO;
    let mut thoughts = Vec::new();
    let mut output = Vec::new();
    for part in &answer.parts {
        let (begin, index) = (events.len(), output.len());
        let item = match part {
            Said::Pause(time) => {
                pause += *time;
                continue;
            }
            Said::Thinking(text) => {
                let item = reasoning(&mut events, index, n, text);
                issued.thoughts.push(item.clone());
                thoughts.push(item.clone());
                item
            }
            Said::Text(pieces, each) => message(&mut events, index, n, pieces, *each, answer.stop),
            Said::Tool { name, input } => {
                let call_id = format!("call_{n:04}{index:04}");
                issued.calls.insert(call_id.clone(), thoughts.clone());
                call(&mut events, index, &call_id, name, input)
            }
        };
        events.push(Event::new(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        ));
        events[begin].pause += std::mem::take(&mut pause);
        output.push(item);
    }
    let usage = json!({"input_tokens": 15 + n, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 20 + n});
    let mut response = json!({"id": id, "object": "response", "status": "completed", "output": output, "usage": usage});
    if answer.stop == Stop::MaxTokens {
        response["status"] = json!("incomplete");
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    let kind = format!("response.{}", response["status"].as_str().unwrap_or_default());
    events.push(Event {
        data: json!({"type": kind, "response": response}),
        pause,
    });
    events
}

fn added(events: &mut Vec<Event>, index: usize, item: &Value) {
    events.push(Event::new(
        json!({"type": "response.output_item.added", "output_index": index, "item": item}),
    ));
}

fn reasoning(events: &mut Vec<Event>, index: usize, n: u64, text: &str) -> Value {
    let id = format!("rs_{n}_{index}");
    added(events, index, &json!({"id": id, "type": "reasoning", "summary": []}));
    events.push(Event::new(
        json!({"type": "response.reasoning_summary_text.delta", "output_index": index, "delta": text}),
    ));
    let summary = json!([{"type": "summary_text", "text": text}]);
    json!({"id": id, "type": "reasoning", "summary": summary, "encrypted_content": format!("ZW5j+{n}/{index}==")})
}

fn message(
    events: &mut Vec<Event>,
    index: usize,
    n: u64,
    pieces: &[String],
    each: std::time::Duration,
    stop: Stop,
) -> Value {
    let (kind, member, delta) = match stop {
        Stop::Refusal => ("refusal", "refusal", "response.refusal.delta"),
        Stop::End | Stop::MaxTokens => ("output_text", "text", "response.output_text.delta"),
    };
    let message = json!({"id": format!("msg_{n}_{index}"), "type": "message", "role": "assistant", "content": []});
    added(events, index, &message);
    for piece in pieces {
        let data = json!({"type": delta, "output_index": index, "content_index": 0, "delta": piece});
        events.push(Event { data, pause: each });
    }
    let mut done = message;
    done["content"] = json!([{"type": kind, member: pieces.concat()}]);
    done
}

fn call(events: &mut Vec<Event>, index: usize, call_id: &str, name: &str, input: &str) -> Value {
    let mut item = json!({"id": format!("fc_{call_id}"), "type": "function_call", "call_id": call_id, "name": name, "arguments": ""});
    added(events, index, &item);
    let middle = input.floor_char_boundary(input.len() / 2);
    for piece in [&input[..middle], &input[middle..]] {
        let kind = "response.function_call_arguments.delta";
        events.push(Event::new(json!({"type": kind, "output_index": index, "delta": piece})));
    }
    let kind = "response.function_call_arguments.done";
    events.push(Event::new(
        json!({"type": kind, "output_index": index, "arguments": input}),
    ));
    item["arguments"] = json!(input);
    item
}
