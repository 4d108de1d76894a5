//! What a transcript becomes folds, rests and renders like a log of ours.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_schema::transcript::Origin;
use uuid::Uuid;

use super::*;

struct Fresh;

impl Ids for Fresh {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

fn part(at: i64, message: Option<&str>, heard: Heard) -> Part {
    Part {
        at: Some(Timestamp::from_micros(at)),
        message: message.map(str::to_owned),
        usage: Usage::default(),
        heard,
    }
}

fn user(at: i64, text: &str) -> Part {
    part(
        at,
        None,
        Heard::User(vec![perennial_schema::content::Block::text(text)]),
    )
}

fn call(at: i64, message: &str, id: &str) -> Part {
    let heard = Heard::ToolUse {
        id: id.into(),
        name: "Read".into(),
        input: Raw::of(&json!({})),
    };
    part(at, Some(message), heard)
}

fn result(at: i64, id: &str) -> Part {
    let heard = Heard::ToolResult {
        id: id.into(),
        content: vec![perennial_schema::content::Block::text("content")],
        is_error: false,
    };
    part(at, None, heard)
}

fn text(at: i64, message: &str, text: &str) -> Part {
    part(at, Some(message), Heard::Text(text.into()))
}

fn made(parts: Vec<Part>) -> (Vec<Past>, Folded) {
    let transcript = Transcript {
        parts,
        ..Transcript::default()
    };
    Maker::new(Origin::ClaudeCode, &Fresh, Timestamp::from_micros(9)).log(transcript)
}

fn kinds(past: &[Past]) -> Vec<&str> {
    past.iter()
        .flat_map(|commit| &commit.events)
        .map(|event| event.body.kind())
        .collect()
}

fn roles(messages: &[Message]) -> Vec<(Role, usize)> {
    messages
        .iter()
        .map(|message| (message.role, message.parts.len()))
        .collect()
}

#[test]
fn a_conversation_of_two_turns() {
    let (past, state) = made(vec![
        user(1, "look"),
        call(2, "m1", "a"),
        call(3, "m1", "b"),
        result(4, "b"),
        result(5, "a"),
        user(6, "hurry"),
        text(7, "m2", "done"),
        user(8, "more"),
        text(7, "m3", "late clock"),
    ]);
    let texts = state.render();
    assert_eq!(
        roles(&texts),
        [
            (Role::User, 1),
            (Role::Assistant, 2),
            (Role::User, 3),
            (Role::Assistant, 1),
            (Role::User, 1),
            (Role::Assistant, 1)
        ]
    );
    // Both results, then what was said meanwhile.
    assert!(matches!(texts[2].parts[2], MessagePart::Content(_)));
    assert_eq!((state.turn, state.stop.clone()), (2, Some(StopReason::EndTurn)));
    assert_eq!(state.brain(), Some("claude-code/anthropic"));
    let idles = kinds(&past)
        .iter()
        .filter(|kind| **kind == "session.status_idle")
        .count();
    assert_eq!(idles, 2);
    assert!(
        past.iter()
            .zip(past.iter().skip(1))
            .all(|(one, next)| one.at <= next.at && one.turn <= next.turn)
    );
}

#[test]
fn ends_of_every_kind_go_on() {
    let open = vec![user(1, "look"), call(2, "m1", "a"), call(3, "m1", "b"), result(4, "a")];
    for (parts, open_calls, queued) in [
        (open, 1, false),
        (vec![user(1, "unanswered")], 0, true),
        (vec![text(1, "m", "no question")], 0, false),
        (vec![result(1, "of nobody")], 0, false),
        (vec![user(1, "q"), part(2, Some("m"), Heard::Thinking(None))], 0, false),
    ] {
        let (_, state) = made(parts.clone());
        assert_eq!(
            (state.open_calls().count(), state.has_queued_input()),
            (open_calls, queued),
            "{parts:?}"
        );
        let imported = SessionImported {
            format: "claude-code".into(),
            from_session: String::new(),
            events: state.seq,
            head_hash: None,
            workspace: "empty".into(),
            unread: 0,
        };
        let command = perennial_engine::kernel::Command::Import(imported);
        let tail = state.decide(command, Timestamp::from_micros(10), &Fresh).unwrap();
        let mut after = state.clone();
        for draft in &tail {
            after.apply(&Event {
                seq: after.seq + 1,
                id: draft.id,
                turn: after.turn,
                body: draft.body.clone(),
                private: Private::default(),
            });
        }
        assert_eq!(after.open_calls().count(), 0);
        let messages = after.render();
        assert!(messages.first().is_none_or(|first| first.role == Role::User));
        assert!(
            messages.windows(2).all(|pair| pair[0].role != pair[1].role),
            "{parts:?}"
        );
    }
}

#[test]
fn a_compaction_takes_the_place_of_what_it_covers() {
    let (_, state) = made(vec![
        user(1, "first"),
        text(2, "m1", "one"),
        part(3, None, Heard::Compacted("we said one".into())),
        user(4, "second"),
        text(5, "m2", "two"),
    ]);
    let messages = state.render();
    let MessagePart::Text(summary) = &messages[0].parts[0] else {
        panic!("no summary")
    };
    assert!(summary.contains("we said one"));
    assert_eq!(roles(&messages), [(Role::User, 2), (Role::Assistant, 1)]);
}
