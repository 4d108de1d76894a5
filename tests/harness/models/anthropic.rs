//! An answer as the events of a Messages stream.

use serde_json::{Value, json};

use super::reply::{Answer, Event, Said, Stop};
use super::validate::Issued;

/// Events of the `n`th answer; what must come back unchanged is kept in `issued`.
pub(super) fn events(answer: &Answer, n: u64, issued: &mut Issued) -> Vec<Event> {
    let usage = json!({"input_tokens": 10 + n, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1});
    let message = json!({"id": format!("msg_{n}"), "type": "message", "role": "assistant", "model": "scripted",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    let mut events = vec![
        Event::new(json!({"type": "message_start", "message": message})),
        Event::new(json!({"type": "ping"})),
    ];
    let mut pause = std::time::Duration::ZERO;
    let mut thoughts = Vec::new();
    let mut index = 0;
    for part in &answer.parts {
        let begin = events.len();
        match part {
            Said::Pause(time) => {
                pause += *time;
                continue;
            }
            Said::Thinking(text) => thoughts.push(thinking(&mut events, index, n, text, issued)),
            Said::Text(pieces, each) => {
                start(&mut events, index, &json!({"type": "text", "text": ""}));
                for piece in pieces {
                    delta(&mut events, index, &json!({"type": "text_delta", "text": piece}));
                    if let Some(event) = events.last_mut() {
                        event.pause = *each;
                    }
                }
            }
            Said::Tool { name, input } => {
                let id = format!("toolu_{n:04}{index:04}");
                start(
                    &mut events,
                    index,
                    &json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                );
                let middle = input.floor_char_boundary(input.len() / 2);
                for piece in [&input[..middle], &input[middle..]] {
                    delta(
                        &mut events,
                        index,
                        &json!({"type": "input_json_delta", "partial_json": piece}),
                    );
                }
                issued.calls.insert(id, thoughts.clone());
            }
        }
        events.push(Event::new(json!({"type": "content_block_stop", "index": index})));
        events[begin].pause += std::mem::take(&mut pause);
        index += 1;
    }
    let tools = answer.parts.iter().any(|part| matches!(part, Said::Tool { .. }));
    let reason = match answer.stop {
        Stop::MaxTokens => "max_tokens",
        Stop::Refusal => "refusal",
        Stop::End if tools => "tool_use",
        Stop::End => "end_turn",
    };
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    events.push(Event {
        data: json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20 + n}}),
        pause,
    });
    events.push(Event::new(json!({"type": "message_stop"})));
    events
}

fn thinking(events: &mut Vec<Event>, index: u64, n: u64, text: &str, issued: &mut Issued) -> Value {
    let signature = format!("c2lnbmF0dXJl+{n}/{index}==");
    start(
        events,
        index,
        &json!({"type": "thinking", "thinking": "", "signature": ""}),
    );
    delta(events, index, &json!({"type": "thinking_delta", "thinking": text}));
    delta(
        events,
        index,
        &json!({"type": "signature_delta", "signature": signature}),
    );
    let block = json!({"type": "thinking", "thinking": text, "signature": signature});
    issued.thoughts.push(block.clone());
    block
}

fn start(events: &mut Vec<Event>, index: u64, block: &Value) {
    events.push(Event::new(
        json!({"type": "content_block_start", "index": index, "content_block": block}),
    ));
}

fn delta(events: &mut Vec<Event>, index: u64, delta: &Value) {
    events.push(Event::new(
        json!({"type": "content_block_delta", "index": index, "delta": delta}),
    ));
}
