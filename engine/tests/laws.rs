//! The laws of the kernel, on generated logs: every prefix folds and renders to a provider-valid message list; folding one by
//! one, at once, or from a snapshot gives the same state (I6, I8).
//!
//! Two kinds of logs: *lived* ones, made by driving the kernel itself through random outcomes, inputs and crashes; and
//! *foreign* ones, any events in any order.

#![expect(clippy::expect_used, reason = "a test that cannot go on should stop")]

#[cfg(test)]
mod lived;

use perennial_engine::kernel::{Message, MessagePart, Role, State, Step};
use perennial_schema::event::Event;
use proptest::prelude::*;

fn check_every_prefix(log: &[Event]) -> Result<(), TestCaseError> {
    let mut incremental = State::default();
    for (length, event) in log.iter().enumerate() {
        incremental.apply(event);
        let messages = incremental.render();
        if let Err(why) = valid(&messages) {
            return Err(TestCaseError::fail(format!(
                "prefix of {} events: {why}: {messages:#?}",
                length + 1
            )));
        }
    }
    prop_assert_eq!(&incremental, &State::default().fold(log));
    Ok(())
}

fn check_snapshots(log: &[Event], cut: usize) -> Result<(), TestCaseError> {
    let (head, tail) = log.split_at(cut.min(log.len()));
    let snapshot = serde_json::to_string(&State::default().fold(head)).expect("a state serialises");
    let restored: State = serde_json::from_str(&snapshot).expect("and comes back");
    prop_assert_eq!(restored.fold(tail), State::default().fold(log));
    Ok(())
}

/// What a provider asks of a conversation.
fn valid(messages: &[Message]) -> Result<(), String> {
    let mut pending: Vec<_> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let expected = if index % 2 == 0 { Role::User } else { Role::Assistant };
        if message.role != expected {
            return Err(format!("message {index} has role {:?}", message.role));
        }
        if message.parts.is_empty() {
            return Err(format!("message {index} is empty"));
        }
        let results: Vec<_> = message
            .parts
            .iter()
            .filter_map(|part| match part {
                MessagePart::ToolResult { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        if results != pending {
            return Err(format!("message {index} answers {results:?}, expected {pending:?}"));
        }
        if !results.is_empty() && !matches!(message.parts[0], MessagePart::ToolResult { .. }) {
            return Err(format!("message {index} does not begin with its results"));
        }
        pending = message
            .parts
            .iter()
            .filter_map(|part| match part {
                MessagePart::ToolUse { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
    }
    if pending.is_empty() {
        Ok(())
    } else {
        Err(format!("{pending:?} are never answered"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn lived_logs_fold_and_render(choices in prop::collection::vec(any::<u8>(), 1..200)) {
        let log = lived::log(&choices);
        check_every_prefix(&log)?;
    }

    #[test]
    fn foreign_logs_fold_and_render(log in lived::foreign(120)) {
        check_every_prefix(&log)?;
    }

    #[test]
    fn snapshot_and_tail_equal_the_whole(choices in prop::collection::vec(any::<u8>(), 1..200), cut in 0usize..400) {
        check_snapshots(&lived::log(&choices), cut)?;
    }

    #[test]
    fn foreign_snapshot_and_tail_equal_the_whole(log in lived::foreign(120), cut in 0usize..120) {
        check_snapshots(&log, cut)?;
    }

    /// Left alone, every lived session comes to rest: the loop of `next` cannot spin or stall.
    #[test]
    fn lived_sessions_come_to_rest(choices in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut life = lived::Life::new();
        life.live(&choices);
        life.settle();
        prop_assert!(matches!(life.state.next(), Step::Rest(None) | Step::Await { announce: false, .. }), "{:?}", life.state.next());
    }

    /// A fork at any seq rests, owes nothing and has no open call.
    #[test]
    fn forks_begin_at_rest(choices in prop::collection::vec(any::<u8>(), 1..200), cut in 0usize..400) {
        let log = lived::log(&choices);
        let state = State::default().fold(&log[..cut.min(log.len())]);
        let forked = lived::fork(state);
        prop_assert_eq!(forked.open_calls().count(), 0);
        prop_assert!(forked.has_queued_input() || matches!(forked.next(), Step::Rest(None)), "{:?}", forked.next());
    }
}

/// An interrupt that overtakes a message before any turn took it up ends that message's turn: it enters the context, and the
/// session rests, visibly, without having asked the model. A message behind the interrupt is answered.
#[test]
fn an_interrupt_ends_the_turn_that_has_not_begun() {
    let mut life = lived::Life::new();
    life.live(&[0, 1]);
    assert!(
        matches!(life.state.next(), Step::Rest(Some(_))),
        "{:?}",
        life.state.next()
    );
    life.settle();
    let kinds: Vec<&str> = life.log.iter().map(|event| event.body.kind()).collect();
    assert_eq!(
        kinds,
        [
            "user.message",
            "user.interrupt",
            "input.processed",
            "session.status_idle"
        ]
    );
    assert_eq!(life.state.render().len(), 1);
    life.live(&[0, 1, 0]);
    life.settle();
    assert!(life.log.iter().any(|event| event.body.kind() == "agent.message"));
}

/// Compaction loses nobody's words unseen: an input is in the conversation until a model was asked with it in it, and every
/// log that was compacted goes on.
#[test]
fn a_long_life_is_compacted_and_goes_on() {
    let mut life = lived::Life::new();
    for round in 0..200u32 {
        life.live(&[0]);
        if matches!(life.state.next_within(500), Step::Compact { .. }) {
            assert!(life.compact(|_| {}));
        }
        assert!(matches!(life.state.next_within(500), Step::Think), "round {round}");
        life.think(600);
        assert!(life.state.render().len() < 40, "round {round} still has everything");
    }
    life.settle();
    let count = |kind: &str| life.log.iter().filter(|event| event.body.kind() == kind).count();
    let compacted = count("context.compacted");
    assert!((10..80).contains(&compacted), "{compacted} compactions");
    assert_eq!(compacted, count("agent.thread_context_compacted"));
    check_every_prefix(&life.log).expect("every prefix renders");
}

/// What is queued while a summary is made waits for the request behind it, whatever its own seq.
#[test]
fn a_summary_never_covers_an_input_that_no_request_has_named() {
    let mut life = lived::Life::new();
    for _ in 0..12 {
        life.live(&[0]);
        life.think(600);
    }
    assert!(life.compact(|life| life.live(&[0])), "there was nothing to compact");
    assert!(life.state.has_queued_input() && matches!(life.state.next(), Step::Think));
    life.think(1);
    let inputs = |messages: &[Message]| {
        let parts = messages.iter().flat_map(|message| &message.parts);
        parts.filter(|part| matches!(part, MessagePart::Content(_))).count()
    };
    let shown = life.state.render();
    assert!(
        matches!(&shown[0].parts[0], MessagePart::Text(text) if text.contains("so far")),
        "{shown:#?}"
    );
    assert!((2..12).contains(&inputs(&shown)), "{shown:#?}");
    assert_eq!(life.state.context_tokens(), 1);
}

/// A summary answers nobody: whoever waited for the model still does, also after a crash in mid-summary.
#[test]
fn a_compaction_owes_the_reply_it_interrupted() {
    for crash in [false, true] {
        let mut life = lived::Life::new();
        for _ in 0..40 {
            life.live(&[0]);
            life.think(600);
        }
        life.live(&[0]);
        if crash {
            life.begin_compaction();
            assert!(matches!(life.state.next(), Step::CloseRequest(_)));
            life.abandon();
        }
        assert!(matches!(life.state.next_within(500), Step::Compact { .. }));
        assert!(life.compact(|_| {}));
        assert!(
            matches!(life.state.next_within(500), Step::Think),
            "{:?}",
            life.state.next()
        );
    }
}

/// An interrupt of a summary ends the turn of those who wait for it, also when it comes between two attempts.
#[test]
fn an_interrupted_compaction_ends_the_turn_that_waits_for_it() {
    for between in [false, true] {
        let mut life = lived::Life::new();
        for _ in 0..12 {
            life.live(&[0]);
            life.think(600);
        }
        life.live(&[0]);
        assert!(life.begin_compaction().is_some());
        if between {
            life.abandon();
            life.live(&[1]);
        } else {
            life.live(&[1]);
            life.abandon();
        }
        let before = life.log.len();
        life.settle();
        let kinds: Vec<&str> = life.log[before..].iter().map(|event| event.body.kind()).collect();
        assert_eq!(kinds, ["input.processed", "session.status_idle"]);
        assert!(!life.state.has_queued_input());
    }
}

/// Another harness or provider is noted once, before its first request, with what it cannot be shown.
#[test]
fn a_change_of_brains_is_noted_once() {
    let mut life = lived::Life::new();
    life.live(&[0]);
    life.think_as(("native/anthropic", "anthropic"), 1);
    for _ in 0..2 {
        life.live(&[0]);
        life.think_as(("codex/openai", "openai"), 1);
    }
    life.live(&[0]);
    life.think_as(("native/anthropic", "anthropic"), 1);
    let noted: Vec<String> = life
        .log
        .iter()
        .filter_map(|event| match &event.body {
            perennial_schema::event::Body::HarnessChanged(changed) => {
                Some(format!("{} {} {}", changed.from, changed.to, changed.dropped))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        noted,
        ["native/anthropic codex/openai 1", "codex/openai native/anthropic 0"]
    );
    assert_eq!(life.state.brain(), Some("native/anthropic"));
}
