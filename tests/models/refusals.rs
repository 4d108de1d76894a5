//! The judges judged: the scripted servers refuse what the vendors refuse.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::Part;
use perennial_schema::event::Native;
use perennial_tests::models::validate::{self, Issued};
use serde_json::{Value, json};

use crate::support::{Rig, VENDORS, append, said};

fn issued(call: &str, thought: &Value) -> Issued {
    Issued {
        thoughts: vec![thought.clone()],
        calls: [(call.to_owned(), vec![thought.clone()])].into(),
    }
}

/// Each change makes a good request a bad one.
fn check(good: &Value, check: impl Fn(&Value) -> Result<(), String>, changes: &[(&str, Value, &str)]) {
    assert_eq!(check(good), Ok(()));
    for (pointer, value, says) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer} is not there")) = value.clone();
        let refusal = check(&bad).expect_err(pointer);
        assert!(refusal.contains(says), "{pointer}: {refusal}");
    }
}

#[test]
fn messages_requests_are_checked_as_anthropic_does() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let text = |text: &str| json!({"type": "text", "text": text});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": [text("out")]});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "bash", "input": {}});
    let good = json!({
        "model": "m", "max_tokens": 1, "system": [text("s")],
        "tools": [{"name": "bash", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [text("hi")]},
            {"role": "assistant", "content": [thought, call("a"), call("b")]},
            {"role": "user", "content": [result("a"), result("b"), text("go on")]},
        ],
    });
    let known = issued("a", &thought);
    let changed = json!({"type": "thinking", "thinking": "hm", "signature": "t"});
    let marks = json!(
        (0..5)
            .map(|_| json!({"type": "text", "text": "x", "cache_control": {}}))
            .collect::<Vec<_>>()
    );
    check(
        &good,
        |body| validate::anthropic(body, &known),
        &[
            ("/max_tokens", json!(null), "max_tokens"),
            ("/model", json!(""), "model"),
            ("/system/0/text", json!(" "), "system"),
            ("/tools/0/name", json!("a b"), "not a name"),
            ("/tools/0/input_schema", json!({}), "not of an object"),
            ("/messages", json!([]), "messages: empty"),
            ("/messages/0/role", json!("assistant"), "must be user"),
            ("/messages/1/role", json!("user"), "must be assistant"),
            ("/messages/0/content", json!([]), "empty content"),
            ("/messages/0/content", marks, "cache_control"),
            ("/messages/0/content/0/text", json!(" "), "empty text"),
            ("/messages/1/content/0", changed, "was changed"),
            ("/messages/1/content/0", text("x"), "is missing"),
            ("/messages/1/content/1/input", json!("{}"), "not an object"),
            ("/messages/1/content/2/id", json!("a"), "two tool_uses"),
            ("/messages/1/content/2", thought.clone(), "last block is thinking"),
            ("/messages/2/content/1", text("x"), "no tool_result"),
            ("/messages/2/content/1/tool_use_id", json!("a"), "two tool_results"),
            ("/messages/2/content/1/tool_use_id", json!("c"), "without its tool_use"),
            (
                "/messages/2/content",
                json!([result("a"), text("x"), result("b")]),
                "not at the beginning",
            ),
            (
                "/messages/2/content/0",
                json!({"type": "tool_result", "tool_use_id": "a", "content": [], "is_error": true}),
                "empty error",
            ),
            ("/messages/2/content/2", json!({"type": "odd"}), "no place here"),
        ],
    );
}

#[test]
fn responses_requests_are_checked_as_openai_does() {
    let thought = json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"});
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "bash", "arguments": "{}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "out"});
    let message =
        |role: &str, kind: &str| json!({"type": "message", "role": role, "content": [{"type": kind, "text": "x"}]});
    let good = json!({
        "model": "m", "store": false, "max_output_tokens": 16,
        "tools": [{"type": "function", "name": "bash", "parameters": {"type": "object"}}],
        "input": [message("user", "input_text"), thought, call("a"), call("b"), output("a"), output("b"), message("assistant", "output_text")],
    });
    let known = issued("a", &thought);
    let changed = json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "f"});
    check(
        &good,
        |body| validate::openai(body, &known),
        &[
            ("/model", json!(null), "model"),
            ("/store", json!(true), "store"),
            ("/max_output_tokens", json!(1), "max_output_tokens"),
            ("/tools/0/type", json!("odd"), "not a function"),
            ("/tools/0/parameters", json!(null), "not of an object"),
            ("/input", json!([]), "empty"),
            ("/input/0/content", json!([]), "empty content"),
            ("/input/0/content/0/type", json!("output_text"), "no place here"),
            ("/input/6/role", json!("tool"), "unknown role"),
            ("/input/1", changed, "was changed"),
            (
                "/input/1",
                message("user", "input_text"),
                "reasoning before a is missing",
            ),
            ("/input/2", message("user", "input_text"), "required following item"),
            ("/input/3/call_id", json!("a"), "two calls"),
            ("/input/3/arguments", json!("{"), "no object"),
            ("/input/5", message("user", "input_text"), "before the output of b"),
            ("/input/5/call_id", json!("a"), "two outputs"),
            ("/input/5/call_id", json!("c"), "no call found"),
            ("/input/5/output", json!([]), "is empty"),
            ("/input/6", call("c"), "no tool output found"),
            ("/input/6", json!({"type": "odd"}), "unknown type"),
        ],
    );
}

#[tokio::test]
async fn a_bad_conversation_is_refused_and_recorded() {
    for vendor in VENDORS.into_iter().filter(|vendor| vendor.keeps_thoughts()) {
        let rig = Rig::new(vendor).await;
        let mut messages = vec![said("/tool bash\n/say done")];
        let step = rig.ask(&messages).await.unwrap();
        append(&mut messages, &step);
        let Some(Part::Thinking { native, .. }) = step.parts.first() else {
            panic!("no thinking")
        };
        let block = serde_json::from_str(&native.block.text().replace("==", "=x")).unwrap();
        let forged = MessagePart::Native(Native {
            block,
            ..native.clone()
        });
        messages[1].parts[0] = forged;
        let error = rig.ask(&messages).await.unwrap_err();
        assert!(!error.retryable && error.message.contains("was changed"), "{error}");
        assert_eq!(rig.server.violations().len(), 1);
    }
    let rig = Rig::new(VENDORS[0]).await;
    let open = vec![
        said("hi"),
        Message {
            role: Role::Assistant,
            parts: vec![MessagePart::Text("x".into())],
        },
    ];
    assert!(rig.ask(&open).await.is_err(), "the assistant had the last word");
}
