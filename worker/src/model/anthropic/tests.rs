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

fn start(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    let usage = json!({"output_tokens": 9});
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}),
        json!({"type": "message_stop"}),
    ]
}

fn whole() -> Vec<Value> {
    let usage =
        json!({"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 3});
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": usage}}),
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": "", "extra": 1}),
        ),
        json!({"type": "ping"}),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm\"é"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "m"})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "xyz"})),
        stop(1),
        start(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": "one "})),
        delta(2, json!({"type": "citations_delta", "citation": {}})),
        delta(2, json!({"type": "text_delta", "text": "two"})),
        stop(2),
        start(3, json!({"type": "text", "text": ""})),
        stop(3),
        start(
            4,
            json!({"type": "server_tool_use", "id": "srv", "name": "x", "input": {}}),
        ),
        delta(4, json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(4),
        start(
            5,
            json!({"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}),
        ),
        delta(5, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "{\"a\": "})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "1.50}"})),
        stop(5),
        start(
            6,
            json!({"type": "tool_use", "id": "toolu_2", "name": "read", "input": {}}),
        ),
        stop(6),
        json!({"type": "something_new"}),
    ];
    events.extend(end("tool_use"));
    events
}

#[test]
fn a_whole_message_becomes_its_parts_in_order() {
    let step = run(&whole()).unwrap();
    let parts: Vec<String> = step
        .parts
        .iter()
        .map(|part| match part {
            Part::Thinking { native, .. } => format!("{} {}", native.provider, native.block.text()),
            Part::Text { text, .. } => text.clone(),
            Part::ToolUse {
                native_id, name, input, ..
            } => format!("{native_id} {name} {}", input.text()),
        })
        .collect();
    let expected = [
        r#"anthropic {"type":"thinking","thinking":"hm\"ém","signature":"c2ln","extra":1}"#,
        r#"anthropic {"type":"redacted_thinking","data":"xyz"}"#,
        "one two",
        r#"toolu_1 bash {"a": 1.50}"#,
        "toolu_2 read {}",
    ];
    assert_eq!(parts, expected);
    let usage = step.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (5, 9));
    assert_eq!(
        (usage.cache_read_input_tokens, usage.cache_creation_input_tokens),
        (7, 3)
    );
    assert_eq!(step.stop, StopKind::EndTurn);
}

#[test]
fn a_stream_cut_anywhere_is_an_error_that_may_pass() {
    let events = whole();
    // Without message_stop all is said already, so only what comes before message_delta counts.
    for length in 0..events.len() - 2 {
        let error = run(&events[..length]).unwrap_err();
        assert!(
            error.retryable && error.kind == ErrorKind::ModelRequestFailedError,
            "{length}: {error}"
        );
    }
}

#[test]
fn stop_reasons_are_mapped() {
    for (reason, kind) in [
        ("end_turn", StopKind::EndTurn),
        ("refusal", StopKind::Refusal),
        ("max_tokens", StopKind::MaxTokens),
        ("model_context_window_exceeded", StopKind::MaxTokens),
        ("whatever_comes", StopKind::EndTurn),
    ] {
        assert_eq!(run(&end(reason)).unwrap().stop, kind);
    }
}

#[test]
fn a_tool_input_cut_by_max_tokens_is_no_call() {
    let mut events = vec![
        start(0, json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{\"a"})),
        stop(0),
    ];
    let cut: Vec<Value> = events.iter().cloned().chain(end("max_tokens")).collect();
    assert!(run(&cut).unwrap().parts.is_empty());
    events.extend(end("tool_use"));
    let error = run(&events).unwrap_err();
    assert!(error.retryable && error.message.contains("bash"), "{error}");
}

#[test]
fn error_events_are_classed_by_their_type() {
    let kind = |kind: &str, message: &str| {
        let error = json!({"type": "error", "error": {"type": kind, "message": message}});
        let error = run(&[error]).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        (error.kind, error.retryable)
    };
    assert_eq!(kind("overloaded_error", "x"), (ErrorKind::ModelOverloadedError, true));
    assert_eq!(kind("rate_limit_error", "x"), (ErrorKind::ModelRateLimitedError, true));
    assert_eq!(kind("api_error", "x"), (ErrorKind::ModelRequestFailedError, true));
    assert_eq!(
        kind("authentication_error", "x"),
        (ErrorKind::ModelRequestFailedError, false)
    );
    assert_eq!(
        kind("invalid_request_error", "x"),
        (ErrorKind::ModelRequestFailedError, false)
    );
    assert_eq!(
        kind("invalid_request_error", "credit balance is low"),
        (ErrorKind::BillingError, false)
    );
}

#[test]
fn contradictions_are_errors() {
    let text = || start(0, json!({"type": "text", "text": ""}));
    for events in [
        vec![stop(0)],
        vec![delta(0, json!({"type": "text_delta", "text": "x"}))],
        vec![text(), text()],
        vec![text(), stop(0), delta(0, json!({"type": "text_delta", "text": "x"}))],
        vec![json!({"type": "content_block_start"})],
        vec![json!({"no": "type"})],
        vec![json!("text")],
        vec![json!({"type": "error"})],
    ] {
        assert!(run(&events).unwrap_err().retryable);
    }
}

proptest! {
    /// Whatever arrives, it ends in a step or an error.
    #[test]
    fn nothing_makes_it_panic(picks in proptest::collection::vec((0..29usize, any::<bool>()), 0..40)) {
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
