//! Fold, render and codec, in events a second. The log is a long conversation: messages of about 1 KiB, tool calls, results.

#![expect(clippy::expect_used, reason = "a bench that cannot go on should stop")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use perennial_engine::kernel::State;
use perennial_schema::content::text_content;
use perennial_schema::event::*;
use perennial_schema::model::Usage;
use perennial_schema::{EventId, Timestamp};
use uuid::Uuid;

const STEPS: u64 = 2_000;

fn records() -> Vec<Record> {
    let mut records = Vec::new();
    let text = "lorem ipsum ".repeat(80);
    for step in 0..STEPS {
        let id = |offset: u64| EventId::from_uuid(Uuid::from_u128(u128::from(step * 8 + offset)));
        let bodies = [
            (
                id(0),
                Body::UserMessage(Message {
                    content: text_content(&text),
                }),
            ),
            (id(1), Body::SpanModelRequestStart(Empty {})),
            (id(2), Body::InputProcessed(InputProcessed { event_ids: vec![id(0)] })),
            (
                id(3),
                Body::AgentMessage(Message {
                    content: text_content(&text),
                }),
            ),
            (
                id(4),
                Body::AgentToolUse(ToolUse {
                    name: "bash".into(),
                    input: Raw::of(&serde_json::json!({"command": "true"})),
                    evaluated_permission: Some(Permission::Allow),
                }),
            ),
            (
                id(5),
                Body::SpanModelRequestEnd(ModelRequestEnd {
                    model_request_start_id: id(1),
                    model_usage: Usage::default(),
                    is_error: false,
                }),
            ),
            (
                id(6),
                Body::AgentToolResult(ToolResult {
                    tool_use_id: id(4),
                    content: Some(text_content(&text)),
                    is_error: None,
                }),
            ),
        ];
        for (id, body) in bodies {
            let draft = Draft::new(id, body, Timestamp::from_micros(0));
            records.push(Record {
                seq: records.len() as u64 + 1,
                id,
                kind: draft.body.kind().to_owned(),
                turn: step,
                actor: None,
                thread_id: None,
                created_at: Timestamp::from_micros(0),
                payload: draft.payload,
                private: None,
            });
        }
    }
    records
}

fn kernel(criterion: &mut Criterion) {
    let records = records();
    let events: Vec<Event> = records.iter().map(|record| record.decode().expect("valid")).collect();
    let state = State::default().fold(&events);
    let mut group = criterion.benchmark_group("kernel");
    group
        .throughput(Throughput::Elements(events.len() as u64))
        .sample_size(20);
    group.bench_function("fold", |bench| {
        bench.iter_batched(State::default, |state| state.fold(&events), BatchSize::LargeInput);
    });
    group.bench_function("decode", |bench| {
        bench.iter(|| records.iter().filter(|record| record.decode().is_ok()).count());
    });
    group.bench_function("decode and fold", |bench| {
        bench.iter_batched(
            State::default,
            |mut state| {
                for record in &records {
                    state.apply(&record.decode().expect("valid"));
                }
                state
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("render", |bench| bench.iter(|| state.render()));
    group.bench_function("encode", |bench| {
        bench.iter(|| {
            let drafts = events
                .iter()
                .map(|event| Draft::new(event.id, event.body.clone(), Timestamp::from_micros(0)));
            drafts.map(|draft| draft.payload.len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, kernel);
criterion_main!(benches);
