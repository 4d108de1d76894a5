//! The accumulator against streams as they are sent, and as they should not be.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` literals are handed over as they are written"
)]

use perennial_engine::ports::{ModelError, ModelStep, Part, StopKind};
use perennial_schema::event::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Accumulator;
use crate::model::testing::Recorder;

fn run(events: &[Value]) -> Result<ModelStep, ModelError> {
    let mut sink = Recorder::default();
    let mut accumulator = Accumulator::new();
    for event in events {
        if accumulator.event(&event.to_string(), &mut sink)? {
            break;
        }
    }
    let step = accumulator.finish()?;
    sink.agrees_with(&step);
    Ok(step)
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn text_delta(index: u64, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": index, "delta": text})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn call(arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc", "call_id": "call_1", "name": "bash", "arguments": arguments})
}

fn completed() -> Value {
    let usage = json!({"input_tokens": 12, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": 3});
    json!({"type": "response.completed", "response": {"output": [], "usage": usage}})
}

fn whole() -> Vec<Value> {
    let reasoning =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": null, "encrypted_content": "abc"});
    vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "output": []}}),
        added(0, json!({"type": "reasoning", "id": "rs_1", "summary": []})),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
        done(0, reasoning),
        added(1, json!({"type": "message", "content": []})),
        text_delta(1, "one "),
        text_delta(1, "two"),
        done(1, message("one two")),
        added(2, json!({"type": "web_search_call", "id": "ws"})),
        done(2, json!({"type": "web_search_call", "id": "ws"})),
        added(3, call("")),
        json!({"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{\"a\": "}),
        json!({"type": "response.function_call_arguments.done", "output_index": 3, "arguments": "{\"a\": 1.50}"}),
        done(3, call("{\"a\": 1.50}")),
        json!({"type": "something.new", "delta": {"x": 1}}),
        completed(),
    ]
}

fn shown(step: &ModelStep) -> Vec<String> {
    let shown = step.parts.iter().map(|part| match part {
        Part::Thinking { native, .. } => format!("{} {}", native.provider, native.block.text()),
        Part::Text { text, .. } => text.clone(),
        Part::ToolUse {
            native_id, name, input, ..
        } => format!("{native_id} {name} {}", input.text()),
    });
    shown.collect()
}

#[test]
fn a_whole_response_becomes_its_parts_in_order() {
    let step = run(&whole()).unwrap();
    let reasoning = r#"openai {"type":"reasoning","id":"rs_1","summary":[],"content":null,"encrypted_content":"abc"}"#;
    assert_eq!(shown(&step), [reasoning, "one two", r#"call_1 bash {"a": 1.50}"#]);
    let usage = step.usage;
    assert_eq!(
        (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens),
        (4, 8, 3)
    );
    assert_eq!(step.stop, StopKind::EndTurn);
}

#[test]
fn sparse_servers_are_understood() {
    let step = run(&[done(0, message("hi")), done(1, call("")), completed()]).unwrap();
    assert_eq!(shown(&step), ["hi", "call_1 bash {}"]);
    let response = json!({"output": [message("hi"), call("{}")]});
    let step = run(&[json!({"type": "response.completed", "response": response})]).unwrap();
    assert_eq!(shown(&step), ["hi", "call_1 bash {}"]);
}

#[test]
fn a_stream_cut_anywhere_is_an_error_that_may_pass() {
    let events = whole();
    for length in 0..events.len() {
        let error = run(&events[..length]).unwrap_err();
        assert!(
            error.retryable && error.kind == ErrorKind::ModelRequestFailedError,
            "{length}: {error}"
        );
    }
}

#[test]
fn incomplete_responses_say_why_and_make_no_half_calls() {
    let incomplete = |reason: &str| {
        let details = json!({"reason": reason});
        json!({"type": "response.incomplete", "response": {"incomplete_details": details, "output": []}})
    };
    let begun = |reason: &str| run(&[done(0, message("x")), added(1, call("{\"a")), incomplete(reason)]).unwrap();
    let step = begun("max_output_tokens");
    assert_eq!((shown(&step), step.stop), (vec!["x".to_owned()], StopKind::MaxTokens));
    assert_eq!(begun("content_filter").stop, StopKind::Refusal);
}

#[test]
fn a_refusal_is_text_and_a_stop() {
    let refusal = json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]});
    let delta = json!({"type": "response.refusal.delta", "output_index": 0, "delta": "n"});
    let step = run(&[
        added(0, json!({"type": "message"})),
        delta,
        done(0, refusal),
        completed(),
    ])
    .unwrap();
    assert_eq!((shown(&step), step.stop), (vec!["no".to_owned()], StopKind::Refusal));
}

#[test]
fn failures_are_classed_by_their_code() {
    let class = |event: Value| {
        let error = run(&[event]).unwrap_err();
        assert!(error.message.contains("why"), "{error}");
        (error.kind, error.retryable)
    };
    let failed = |code: &str| {
        let error = json!({"code": code, "message": "why"});
        class(json!({"type": "response.failed", "response": {"error": error, "output": []}}))
    };
    assert_eq!(failed("rate_limit_exceeded"), (ErrorKind::ModelRateLimitedError, true));
    assert_eq!(failed("server_error"), (ErrorKind::ModelRequestFailedError, true));
    assert_eq!(failed("insufficient_quota"), (ErrorKind::BillingError, false));
    assert_eq!(
        failed("context_length_exceeded"),
        (ErrorKind::CompactionLimitReachedError, false)
    );
    let top = json!({"type": "error", "code": "slow_down", "message": "why"});
    assert_eq!(class(top), (ErrorKind::ModelOverloadedError, true));
    let inner = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "why"}});
    assert_eq!(class(inner), (ErrorKind::ModelRequestFailedError, false));
}

#[test]
fn contradictions_are_errors() {
    for events in [
        vec![text_delta(0, "x")],
        vec![added(0, call("")), text_delta(0, "x")],
        vec![done(0, message("x")), done(0, message("x"))],
        vec![
            added(0, json!({"type": "message"})),
            text_delta(0, "a"),
            done(0, message("b")),
        ],
        vec![done(0, call("[1]")), completed()],
        vec![done(0, call("{")), completed()],
        vec![json!({"type": "response.output_item.done"})],
        vec![json!({"no": "type"})],
    ] {
        assert!(run(&events).unwrap_err().retryable);
    }
}

proptest! {
    /// Whatever arrives, it ends in a step or an error.
    #[test]
    fn nothing_makes_it_panic(picks in proptest::collection::vec((0..16usize, any::<bool>()), 0..40)) {
        let all = whole();
        let mut sink = Recorder::default();
        let mut accumulator = Accumulator::new();
        for (pick, broken) in picks {
            let mut data = all[pick % all.len()].to_string();
            if broken {
                data.truncate(data.floor_char_boundary(data.len() / 2));
            }
            let _ = accumulator.event(&data, &mut sink);
        }
        let _ = accumulator.finish();
    }
}
