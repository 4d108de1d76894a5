//! What a tool call is called on the wire: the provider's own id where that is possible, else ours.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use perennial_engine::kernel::{Message, MessagePart};
use perennial_schema::EventId;

/// Longest id that providers take, and longest name of a tool.
const LENGTH: usize = 64;

/// The wire ids of one conversation: valid everywhere, and unique even if a provider repeated itself.
#[derive(Debug, Default)]
pub(super) struct CallIds(HashMap<EventId, String>);

impl CallIds {
    pub(super) fn of(messages: &[Message]) -> Self {
        Self::within(messages, LENGTH)
    }

    /// The same for a vendor that takes shorter ones only.
    pub(super) fn within(messages: &[Message], length: usize) -> Self {
        let mut used = HashSet::new();
        let mut ids = HashMap::new();
        for part in messages.iter().flat_map(|message| &message.parts) {
            let MessagePart::ToolUse { id, native_id, .. } = part else {
                continue;
            };
            let native = native_id
                .as_ref()
                .filter(|native| is_valid(native) && native.len() <= length && !used.contains(*native));
            let wire = native.cloned().unwrap_or_else(|| id.to_string());
            used.insert(wire.clone());
            ids.insert(*id, wire);
        }
        Self(ids)
    }

    /// The id of a call; a result whose call is not in the conversation (it never is) keeps our own.
    pub(super) fn get(&self, id: EventId) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

fn is_valid(id: &str) -> bool {
    (1..=LENGTH).contains(&id.len()) && id.bytes().all(fits)
}

const fn fits(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// A tool's name as every vendor takes it. Names on offer are so already; those of an imported history need not be.
pub(super) fn tool_name(name: &str) -> Cow<'_, str> {
    if is_valid(name) {
        return Cow::Borrowed(name);
    }
    let mut fitting: String = name
        .chars()
        .take(LENGTH)
        .map(|letter| {
            if u8::try_from(letter).is_ok_and(fits) {
                letter
            } else {
                '_'
            }
        })
        .collect();
    if fitting.is_empty() {
        fitting.push_str("tool");
    }
    Cow::Owned(fitting)
}

#[cfg(test)]
mod tests {
    use perennial_engine::kernel::Role;
    use perennial_schema::event::Raw;

    use super::*;
    use crate::model::testing::event_id;

    #[test]
    fn native_ids_are_kept_while_they_are_valid_and_unique() {
        let natives = [
            Some("toolu_1"),
            Some("toolu_1"),
            Some("has space"),
            None,
            Some("call_2"),
        ];
        let parts = natives.iter().zip(1..).map(|(native, n)| MessagePart::ToolUse {
            id: event_id(n),
            native_id: native.map(str::to_owned),
            name: "t".into(),
            input: Raw::of(&()),
        });
        let ids = CallIds::of(&[Message {
            role: Role::Assistant,
            parts: parts.collect(),
        }]);
        assert_eq!(ids.get(event_id(1)), "toolu_1");
        for n in 2..=4 {
            assert_eq!(ids.get(event_id(n)), event_id(n).to_string());
        }
        assert_eq!(ids.get(event_id(5)), "call_2");
    }

    #[test]
    fn names_of_other_worlds_are_made_to_fit() {
        assert_eq!(tool_name("read_file"), "read_file");
        assert_eq!(tool_name("mcp.server/é read"), "mcp_server___read");
        assert_eq!(tool_name(""), "tool");
        assert_eq!(tool_name(&"x".repeat(99)).len(), LENGTH);
    }
}
