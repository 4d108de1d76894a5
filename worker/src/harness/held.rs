//! What a process's conversation holds, and how a log may go on from there.
//!
//! A live process goes on only when the rendered log is exactly what it holds and one message more: results for the calls it
//! waits for, or a prompt. Anything else starts from the log.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{ModelStep, Part};
use perennial_schema::EventId;
use perennial_schema::event::Raw;
use perennial_schema::tool::Outcome;

/// Results by the id under which the process waits for them.
pub(super) type Answers = HashMap<String, Outcome>;

/// A conversation, told from others by length and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    messages: usize,
    digest: u64,
}

impl Held {
    /// Of a whole conversation.
    pub(super) fn of(messages: &[Message]) -> Self {
        let mut held = Self { messages: 0, digest: 0 };
        for message in messages {
            held.add(message);
        }
        held
    }

    fn add(&mut self, message: &Message) {
        let mut hasher = DefaultHasher::new();
        self.digest.hash(&mut hasher);
        matches!(message.role, Role::User).hash(&mut hasher);
        for part in &message.parts {
            hash(part, &mut hasher);
        }
        self.messages += 1;
        self.digest = hasher.finish();
    }

    /// The same with what the process said, as a log renders it.
    pub(super) fn and(mut self, step: &ModelStep) -> Self {
        self.add(&spoken(step));
        self
    }

    /// The one message by which these go on from here; with it, what is held then.
    pub(super) fn next<'a>(&self, messages: &'a [Message]) -> Option<(&'a Message, Self)> {
        let (last, before) = messages.split_last()?;
        if before.len() != self.messages || last.role != Role::User || Self::of(before) != *self {
            return None;
        }
        let mut next = *self;
        next.add(last);
        Some((last, next))
    }
}

fn hash(part: &MessagePart, to: &mut DefaultHasher) {
    std::mem::discriminant(part).hash(to);
    match part {
        MessagePart::Text(text) => text.hash(to),
        MessagePart::Content(block) => block.text().hash(to),
        MessagePart::Native(native) => (&native.provider, native.block.text()).hash(to),
        MessagePart::ToolUse {
            id,
            native_id,
            name,
            input,
        } => (id, native_id, name, input.text()).hash(to),
        MessagePart::ToolResult {
            id,
            native_id,
            content,
            is_error,
        } => (id, native_id, content.text(), is_error).hash(to),
    }
}

fn spoken(step: &ModelStep) -> Message {
    let part = |part: &Part| match part.clone() {
        Part::Thinking { native, .. } => MessagePart::Native(native),
        Part::Text { text, .. } => MessagePart::Text(text),
        Part::ToolUse {
            id,
            native_id,
            name,
            input,
        } => MessagePart::ToolUse {
            id,
            native_id: Some(native_id),
            name,
            input,
        },
    };
    Message {
        role: Role::Assistant,
        parts: step.parts.iter().map(part).collect(),
    }
}

/// A message's answers to exactly these calls (our id and the one the process waits under), as long as it holds nothing else
/// and `outcome` can tell each of them.
pub(super) fn answers(
    calls: &[(EventId, String)],
    message: &Message,
    outcome: impl Fn(&Raw, bool) -> Option<Outcome>,
) -> Option<Answers> {
    let result = |part: &MessagePart| match part {
        MessagePart::ToolResult {
            id, content, is_error, ..
        } => Some((*id, outcome(content, *is_error)?)),
        _ => None,
    };
    let mut outcomes: HashMap<EventId, Outcome> = message.parts.iter().map(result).collect::<Option<_>>()?;
    let answers = calls
        .iter()
        .map(|(id, name)| Some((name.clone(), outcomes.remove(id)?)))
        .collect::<Option<_>>()?;
    outcomes.is_empty().then_some(answers)
}

/// The calls of a step: our id, and the one the process waits under.
pub(super) fn calls(step: &ModelStep) -> Vec<(EventId, String)> {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { id, native_id, .. } => Some((*id, native_id.clone())),
        _ => None,
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn said(text: &str) -> Message {
        Message {
            role: Role::User,
            parts: vec![MessagePart::Content(Raw::of(&json!({"type": "text", "text": text})))],
        }
    }

    fn step(text: &str) -> ModelStep {
        ModelStep {
            parts: vec![Part::Text {
                id: EventId::from_uuid(Uuid::from_u128(1)),
                text: text.into(),
            }],
            ..ModelStep::default()
        }
    }

    #[test]
    fn a_log_goes_on_only_from_exactly_what_is_held() {
        let held = Held::of(&[said("a")]).and(&step("b"));
        let log = [said("a"), spoken(&step("b")), said("c")];
        let (last, then) = held.next(&log).unwrap();
        assert_eq!((last, then), (&log[2], Held::of(&log)));
        for other in [
            vec![said("a"), spoken(&step("b"))],
            vec![said("A"), spoken(&step("b")), said("c")],
            vec![said("a"), spoken(&step("B")), said("c")],
            vec![said("b"), said("a"), said("c")],
            vec![said("a"), spoken(&step("b")), spoken(&step("c"))],
            vec![said("a"), spoken(&step("b")), said("c"), said("d")],
            vec![said("c")],
            vec![],
        ] {
            assert!(held.next(&other).is_none(), "{other:?}");
        }
    }
}
