//! A session that rests for a budget: what it owes stays owed, until it goes on or somebody interrupts it.

use perennial_engine::kernel::{State, Step};
use perennial_schema::EventId;
use perennial_schema::content::text_content;
use perennial_schema::event::{Body, Empty, Event, Idle, InputProcessed, Interrupt, Message, ModelRequestEnd, Private};
use perennial_schema::model::Usage;
use perennial_schema::session::StopReason;
use uuid::Uuid;

fn id(number: u128) -> EventId {
    EventId::from_uuid(Uuid::from_u128(number))
}

/// Events numbered from one; the turn they are of.
fn log(bodies: Vec<(u64, Body)>) -> State {
    let events: Vec<Event> = (1..)
        .zip(bodies)
        .map(|(seq, (turn, body))| Event {
            seq,
            id: id(u128::from(seq)),
            turn,
            body,
            private: Private::default(),
        })
        .collect();
    State::default().fold(&events)
}

fn said() -> Body {
    Body::UserMessage(Message {
        content: text_content("hello"),
    })
}

fn idle(stop_reason: StopReason) -> Body {
    Body::SessionStatusIdle(Idle { stop_reason })
}

/// One request that was begun and refused.
fn refused() -> Vec<(u64, Body)> {
    let end = ModelRequestEnd {
        model_request_start_id: id(3),
        model_usage: Usage::default(),
        is_error: true,
    };
    vec![
        (0, said()),
        (1, Body::SessionStatusRunning(Empty {})),
        (1, Body::SpanModelRequestStart(Empty {})),
        (1, Body::InputProcessed(InputProcessed { event_ids: vec![id(1)] })),
        (1, Body::SpanModelRequestEnd(end)),
    ]
}

#[test]
fn what_it_owes_stays_owed() {
    let mut events = refused();
    events.push((1, idle(StopReason::BudgetReached)));
    let state = log(events);
    assert_eq!(state.next(), Step::Think);
    assert_eq!(state.next_turn(), 2);
    assert_eq!(state.render().len(), 1, "the question is still there");
}

#[test]
fn after_other_ends_nothing_is_owed() {
    let mut events = refused();
    events.push((1, idle(StopReason::RetriesExhausted)));
    assert_eq!(log(events).next(), Step::Rest(None));
}

#[test]
fn an_interrupt_ends_the_wait() {
    let mut events = refused();
    events.push((1, idle(StopReason::BudgetReached)));
    events.push((1, Body::UserInterrupt(Interrupt::default())));
    assert_eq!(log(events.clone()).next(), Step::Rest(Some(StopReason::EndTurn)));
    events.push((1, Body::InputProcessed(InputProcessed { event_ids: vec![id(7)] })));
    events.push((1, idle(StopReason::EndTurn)));
    assert_eq!(log(events).next(), Step::Rest(None));
}
