//! A turn is part of the trace that the first of its inputs brought, over approvals and until it is over.

use perennial_engine::kernel::State;
use perennial_schema::event::{Body, Empty, Event, Idle, InputProcessed, Private};
use perennial_schema::session::StopReason;
use perennial_schema::{EventId, TraceParent};
use uuid::Uuid;

fn id(n: u128) -> EventId {
    EventId::from_uuid(Uuid::from_u128(n))
}

fn trace(n: u128) -> TraceParent {
    TraceParent::root(Uuid::from_u128(n), Uuid::from_u128(n))
}

#[test]
fn the_first_input_says_whose_trace_a_turn_is_part_of() {
    let mut state = State::default();
    let mut seq = 0;
    let mut happens = |state: &mut State, body: Body, brought: Option<TraceParent>| {
        seq += 1;
        state.apply(&Event {
            seq,
            id: id(seq.into()),
            turn: 1,
            body,
            private: Private {
                trace: brought,
                ..Private::default()
            },
        });
    };
    let message = || Body::parse("user.message", r#"{"content":[]}"#).expect("a message");
    let processed = |n| Body::InputProcessed(InputProcessed { event_ids: vec![id(n)] });
    let idle = |stop_reason| Body::SessionStatusIdle(Idle { stop_reason });
    assert_eq!((state.trace(), state.running), (None, None));

    happens(&mut state, message(), Some(trace(1)));
    happens(&mut state, Body::SessionStatusRunning(Empty {}), None);
    // Also before the input is named: the context may have to be compacted first.
    assert_eq!((state.trace(), state.running), (Some(trace(1)), Some(id(2))));
    happens(&mut state, processed(1), None);
    happens(&mut state, message(), Some(trace(4)));
    assert_eq!(state.trace(), Some(trace(1)), "a later one joins in");
    let asks = StopReason::RequiresAction { event_ids: vec![id(9)] };
    happens(&mut state, idle(asks), None);
    assert_eq!((state.trace(), state.running), (Some(trace(1)), None));
    happens(&mut state, Body::SessionStatusRunning(Empty {}), None);
    assert_eq!((state.trace(), state.running), (Some(trace(1)), Some(id(6))));
    happens(&mut state, idle(StopReason::EndTurn), None);
    assert_eq!(state.trace(), Some(trace(4)), "what was left is the next turn's");
    happens(&mut state, Body::SessionStatusRunning(Empty {}), None);
    happens(&mut state, processed(4), None);
    happens(&mut state, idle(StopReason::EndTurn), None);
    assert_eq!(state.trace(), None);
}
