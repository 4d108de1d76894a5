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

fn run(chunks: &[Value]) -> Result<ModelStep, ModelError> {
    let mut sink = Recorder::default();
    let mut accumulator = Accumulator::new();
    for chunk in chunks {
        accumulator.event(&chunk.to_string(), &mut sink)?;
    }
    let step = accumulator.finish()?;
    sink.agrees_with(&step);
    Ok(step)
}

fn chunk(delta: Value) -> Value {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

fn call(delta: Value) -> Value {
    chunk(json!({"tool_calls": [delta]}))
}

fn end(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage() -> Value {
    let details = json!({"cached_tokens": 8});
    json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": details}})
}

fn whole() -> Vec<Value> {
    vec![
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning_content": "h"})),
        chunk(json!({"reasoning_content": "m", "content": null})),
        chunk(json!({"content": "one "})),
        chunk(json!({"content": "two"})),
        call(json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": ""}})),
        call(json!({"index": 1, "id": "call_2", "type": "function", "function": {"name": "read", "arguments": ""}})),
        call(json!({"index": 1, "function": {"arguments": "{\"b\": "}})),
        call(json!({"index": 0, "function": {"arguments": "{\"a\": 1.50}"}})),
        call(json!({"index": 1, "function": {"arguments": "2}"}})),
        end("tool_calls"),
        usage(),
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
fn a_whole_completion_becomes_its_parts_in_order() {
    let step = run(&whole()).unwrap();
    let thought = r#"chat {"type":"reasoning","text":"hm"}"#;
    let calls = [r#"call_1 bash {"a": 1.50}"#, r#"call_2 read {"b": 2}"#];
    assert_eq!(shown(&step), [thought, "one two", calls[0], calls[1]]);
    let usage = step.usage;
    assert_eq!(
        (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens),
        (4, 8, 3)
    );
    assert_eq!(step.stop, StopKind::EndTurn);
}

#[test]
fn servers_with_habits_of_their_own_are_understood() {
    let function = |arguments: Value| json!({"name": "bash", "arguments": arguments});
    for (calls, expected) in [
        // Whole calls without an index.
        (
            vec![
                call(json!({"id": "a", "function": function(json!("{}"))})),
                call(json!({"id": "b", "function": function(json!("{\"x\":1}"))})),
            ],
            ["a bash {}", r#"b bash {"x":1}"#],
        ),
        // Every call has index 0.
        (
            vec![
                call(json!({"index": 0, "id": "a", "function": function(json!(""))})),
                call(json!({"index": 0, "id": "b", "function": function(json!({"x": 1}))})),
            ],
            ["a bash {}", r#"b bash {"x":1}"#],
        ),
        // The id is repeated with each piece.
        (
            vec![
                call(json!({"index": 0, "id": "a", "function": {"name": "bash"}})),
                call(json!({"index": 0, "id": "a", "function": {"name": "bash", "arguments": "{}"}})),
                call(json!({"index": 1, "id": "b", "function": {"name": "bash", "arguments": "{\"x\""}})),
                call(json!({"index": 1, "id": "b", "function": {"arguments": ":1}"}})),
            ],
            ["a bash {}", r#"b bash {"x":1}"#],
        ),
    ] {
        let chunks: Vec<Value> = calls.into_iter().chain([end("stop")]).collect();
        assert_eq!(shown(&run(&chunks).unwrap()), expected);
    }
    let nameless = [
        call(json!({"index": 0, "function": {"name": "bash"}})),
        end("tool_calls"),
    ];
    assert!(
        matches!(&run(&nameless).unwrap().parts[0], Part::ToolUse { id, native_id, .. } if *native_id == id.to_string())
    );
    let parts = [
        chunk(json!({"content": [{"type": "text", "text": "x"}], "reasoning": "t"})),
        end("stop"),
    ];
    assert_eq!(run(&parts).unwrap().parts.len(), 2);
}

#[test]
fn a_stream_cut_anywhere_is_an_error_that_may_pass() {
    let chunks = whole();
    // Without its usage an answer is whole.
    for length in 0..chunks.len() - 2 {
        let error = run(&chunks[..length]).unwrap_err();
        assert!(
            error.retryable && error.kind == ErrorKind::ModelRequestFailedError,
            "{length}: {error}"
        );
    }
}

#[test]
fn finish_reasons_are_mapped() {
    for (reason, kind) in [
        ("stop", StopKind::EndTurn),
        ("tool_calls", StopKind::EndTurn),
        ("length", StopKind::MaxTokens),
        ("content_filter", StopKind::Refusal),
        ("whatever_comes", StopKind::EndTurn),
    ] {
        assert_eq!(run(&[end(reason)]).unwrap().stop, kind);
    }
    assert!(run(&[end("error")]).unwrap_err().retryable);
    let refused = run(&[chunk(json!({"refusal": "no"})), end("stop")]).unwrap();
    assert_eq!(
        (shown(&refused), refused.stop),
        (vec!["no".to_owned()], StopKind::Refusal)
    );
    let cut = call(json!({"index": 0, "id": "a", "function": {"name": "bash", "arguments": "{\"a"}}));
    assert!(run(&[cut.clone(), end("length")]).unwrap().parts.is_empty());
    let error = run(&[cut, end("stop")]).unwrap_err();
    assert!(error.retryable && error.message.contains("bash"), "{error}");
}

#[test]
fn errors_in_the_stream_are_classed() {
    let class = |error: Value| {
        let error = run(&[chunk(json!({"content": "x"})), json!({"error": error})]).unwrap_err();
        assert!(error.message.contains("why"), "{error}");
        (error.kind, error.retryable)
    };
    let error = |code: Value| json!({"code": code, "message": "why"});
    assert_eq!(
        class(error(json!("rate_limit_exceeded"))),
        (ErrorKind::ModelRateLimitedError, true)
    );
    assert_eq!(class(error(json!(429))), (ErrorKind::ModelRateLimitedError, true));
    assert_eq!(class(error(json!(502))), (ErrorKind::ModelRequestFailedError, true));
    assert_eq!(class(error(json!(503))), (ErrorKind::ModelOverloadedError, true));
    assert_eq!(
        class(error(json!("insufficient_quota"))),
        (ErrorKind::BillingError, false)
    );
    assert_eq!(
        class(error(json!("context_length_exceeded"))),
        (ErrorKind::CompactionLimitReachedError, false)
    );
    assert_eq!(class(json!("why")), (ErrorKind::ModelRequestFailedError, true));
}

proptest! {
    /// Whatever arrives, it ends in a step or an error.
    #[test]
    fn nothing_makes_it_panic(picks in proptest::collection::vec((0..12usize, any::<bool>()), 0..40)) {
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
