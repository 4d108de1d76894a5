//! Whether a request of Codex holds what the log says and offers our tools, neither more nor less. Codex drops what it does
//! not understand, adds what it thinks is useful, and answers calls that it knows better, all without a word.

use std::borrow::Cow;

use perennial_engine::ports::ToolSpec;
use perennial_schema::event::Raw;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    input: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

/// What is compared of an item: its place in the conversation, and a result's words.
#[derive(Debug, Deserialize, PartialEq)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    call_id: Option<Cow<'a, str>>,
    #[serde(default)]
    output: Option<Output>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Output {
    Text(String),
    /// Pictures may be scaled on the way.
    Parts(Vec<serde::de::IgnoredAny>),
}

/// What a request must be.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// The conversation.
    pub(super) items: &'a [Raw],
    /// Whether a system prompt stands before it.
    pub(super) system: bool,
    pub(super) tools: &'a [ToolSpec],
}

/// Why a request is not what it must be.
#[derive(Debug, PartialEq)]
pub(super) enum Wrong {
    /// Other tools than ours.
    Tools(String),
    /// Another conversation than ours.
    Conversation(String),
}

/// Compares a request with what it must be.
pub(super) fn request(body: &[u8], expected: &Expected<'_>) -> Result<(), Wrong> {
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| Wrong::Conversation(format!("its request has an unknown shape: {error}")))?;
    let offered: Vec<&str> = body.tools.iter().map(|tool| tool.name.as_ref()).collect();
    let functions = body.tools.iter().all(|tool| tool.kind == "function");
    if !functions || !same(&offered, expected.tools) {
        return Err(Wrong::Tools(format!("{offered:?}")));
    }
    let system = usize::from(expected.system);
    if body.input.len() != expected.items.len() + system {
        let (got, want) = (body.input.len(), expected.items.len() + system);
        return Err(Wrong::Conversation(format!("it has {got} items instead of {want}")));
    }
    for (index, (got, want)) in body.input[system..].iter().zip(expected.items).enumerate() {
        let (got, want) = (item(got.get()), item(want.text()));
        if got.is_none() || got != want {
            let kind = want.map_or_else(String::new, |item| item.kind.into_owned());
            return Err(Wrong::Conversation(format!(
                "item {index} is not the {kind} it should be"
            )));
        }
    }
    Ok(())
}

fn item(text: &str) -> Option<Item<'_>> {
    serde_json::from_str(text).ok()
}

fn same(offered: &[&str], tools: &[ToolSpec]) -> bool {
    let mut offered = offered.to_vec();
    let mut ours: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    offered.sort_unstable();
    ours.sort_unstable();
    offered == ours
}

#[cfg(test)]
mod tests {
    use perennial_engine::ports::Lane;
    use perennial_schema::event::Permission;
    use perennial_schema::tool::Effect;
    use serde_json::{Value, json};

    use super::*;

    fn tool(name: &str) -> ToolSpec {
        ToolSpec {
            name: name.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            lane: Lane::Executor,
            permission: Permission::Allow,
            effect: Effect::Once,
            choices: Vec::new(),
        }
    }

    fn checked(items: &[Value], request: &Value) -> Result<(), Wrong> {
        let items: Vec<Raw> = items.iter().map(Raw::of).collect();
        let expected = Expected {
            items: &items,
            system: true,
            tools: &[tool("a"), tool("b")],
        };
        super::request(request.to_string().as_bytes(), &expected)
    }

    #[test]
    fn a_request_is_the_log_and_our_tools() {
        let said = json!({"type": "message", "role": "user", "content": []});
        let call = json!({"type": "function_call", "call_id": "c", "name": "a", "arguments": "{}"});
        let output = |text: &str| json!({"type": "function_call_output", "call_id": "c", "output": text});
        let items = [said.clone(), call.clone(), output("x")];
        let head = json!({"type": "message", "role": "developer", "content": []});
        let tools = json!([{"type": "function", "name": "b"}, {"type": "function", "name": "a"}]);
        let with = |input: &[&Value], tools: &Value| json!({"model": "m", "input": input, "tools": tools});

        let mut richer = call.clone();
        richer["id"] = json!("fc_1");
        let good = with(&[&head, &said, &richer, &output("x")], &tools);
        assert_eq!(checked(&items, &good), Ok(()));
        for input in [
            vec![&head, &said, &call],
            vec![&said, &said, &call, &head],
            vec![&head, &said, &call, &call],
        ] {
            let wrong = checked(&items, &with(&input, &tools));
            assert!(matches!(wrong, Err(Wrong::Conversation(_))), "{wrong:?}");
        }
        let cut = with(&[&head, &said, &call, &output("")], &tools);
        assert!(checked(&items, &cut).is_err(), "a result that was cut");
        for tools in [
            json!([{"type": "function", "name": "a"}]),
            json!([{"type": "function", "name": "a"}, {"type": "custom", "name": "b"}]),
            json!([{"type": "function", "name": "a"}, {"type": "function", "name": "b"}, {"type": "web_search"}]),
        ] {
            let wrong = checked(&items, &with(&[&head, &said, &call, &output("x")], &tools));
            assert!(matches!(wrong, Err(Wrong::Tools(_))), "{wrong:?}");
        }
    }
}
