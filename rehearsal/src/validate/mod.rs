//! What vendors refuse. Stricter than they are where they repair in silence: what they repair, a client should not have sent.
//! One file per wire; what they share is here.

mod chat;
mod media;
mod messages;
mod responses;
mod schema;

use std::collections::HashSet;

use serde_json::Value;

use crate::sign;
pub use crate::wire::Issued;
use crate::wire::{Wire, text};

pub use chat::check as chat;
pub use messages::check as messages;
pub use messages::check_count as count_tokens;
pub use responses::check as responses;

/// Nothing, or what is wrong, in words.
pub type Checked = Result<(), String>;

/// Checks a request of any wire.
///
/// # Errors
/// What is wrong, in words.
pub fn check(wire: Wire, body: &Value, issued: &Issued) -> Checked {
    match wire {
        Wire::Messages => messages(body, issued),
        Wire::Responses => responses(body, issued),
        Wire::Chat => chat(body),
    }
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(problem()) }
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Members a vendor has never heard of are refused, not ignored.
fn members(value: &Value, known: &[&str]) -> Checked {
    let unknown = value
        .as_object()
        .and_then(|members| members.keys().find(|name| !known.contains(&name.as_str())));
    unknown.map_or(Ok(()), |name| Err(format!("{name}: extra inputs are not permitted")))
}

/// A number in a range, if it is there at all.
fn number(body: &Value, name: &str, range: std::ops::RangeInclusive<f64>) -> Checked {
    let given = &body[name];
    let holds = given.is_null() || given.as_f64().is_some_and(|number| range.contains(&number));
    ensure(holds, || {
        format!("{name}: must be a number from {} to {}", range.start(), range.end())
    })
}

fn boolean(body: &Value, name: &str) -> Checked {
    ensure(body[name].is_null() || body[name].is_boolean(), || {
        format!("{name}: must be true or false")
    })
}

/// Functions on offer: their names and schemas.
fn tools<'a>(tools: impl Iterator<Item = (&'a str, &'a Value)>, longest: usize) -> Checked {
    let mut names = HashSet::new();
    for (name, schema) in tools {
        ensure(is_name(name, longest), || format!("tools: {name:?} is not a name"))?;
        ensure(names.insert(name), || format!("tools: {name:?} is there twice"))?;
        ensure(schema["type"] == "object", || {
            format!("tools: the schema of {name:?} is not of an object")
        })?;
        schema::check(schema).map_err(|problem| format!("tools: the schema of {name:?}: {problem}"))?;
    }
    Ok(())
}

/// What the text of a thought is, and what vouches for it: in both vendors' words.
fn vouched(thought: &Value) -> (String, &str) {
    let said = thought["summary"].as_array().map_or_else(
        || text(&thought["thinking"]).to_owned(),
        |parts| parts.iter().map(|part| text(&part["text"])).collect(),
    );
    let signatures = [&thought["signature"], &thought["encrypted_content"], &thought["data"]];
    let signature = signatures.into_iter().find_map(Value::as_str);
    (said, signature.unwrap_or_default())
}

/// Whether a thought is as the model had it.
fn is_unchanged(thought: &Value, issued: &Issued) -> bool {
    let (said, signature) = vouched(thought);
    issued.thoughts.contains(thought) || sign::is_ours(signature, &said)
}

/// Whether one of these is this thought.
fn holds(values: &[Value], thought: &Value) -> bool {
    let (_, signature) = vouched(thought);
    values
        .iter()
        .any(|value| value == thought || (!signature.is_empty() && vouched(value).1 == signature))
}
