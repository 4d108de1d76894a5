//! Requests as Anthropic gets them: verbatim where it matters, marked for its cache.

use perennial_engine::ports::Lane;
use perennial_schema::content::text_content;
use perennial_schema::event::{Native, Permission};
use perennial_schema::tool::Effect;
use serde_json::value::RawValue;

use super::*;
use crate::model::testing::{event_id, request, said};

fn raw(text: &str) -> Raw {
    RawValue::from_string(text.into()).unwrap().into()
}

fn encoded(request: &ModelRequest) -> (String, Value) {
    let text = String::from_utf8(encode("claude-x", request, Without::default()).unwrap().0).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn native(provider: &str, block: &str) -> MessagePart {
    MessagePart::Native(Native {
        provider: provider.into(),
        block: raw(block),
    })
}

#[test]
fn a_conversation_is_sent_verbatim_with_cache_marks_at_its_ends() {
    let thinking = r#"{"type":"thinking", "thinking":"é\u00e9","signature":"s=="}"#;
    let image = r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"},"new":1.50}"#;
    let call = |n: u128, native: Option<&str>| MessagePart::ToolUse {
        id: event_id(n),
        native_id: native.map(str::to_owned),
        name: "bash".into(),
        input: raw(r#"{"a": 1.50}"#),
    };
    let result = |n: u128, content: Raw, is_error| MessagePart::ToolResult {
        id: event_id(n),
        native_id: None,
        content,
        is_error,
    };
    let assistant = vec![
        native("anthropic", thinking),
        native("openai", "{}"),
        MessagePart::Text("ok".into()),
        call(1, Some("toolu_1")),
        call(2, None),
    ];
    let mut ask = request(
        "claude-x",
        vec![
            Message {
                role: Role::User,
                parts: vec![MessagePart::Content(raw(image))],
            },
            Message {
                role: Role::Assistant,
                parts: assistant,
            },
            Message {
                role: Role::User,
                parts: vec![result(1, text_content("out"), false), result(2, raw("[]"), true)],
            },
        ],
    );
    ask.system = Some("be good".into());
    ask.tools = vec![ToolSpec {
        name: "bash".into(),
        description: "runs".into(),
        input_schema: json!({"type": "object"}),
        lane: Lane::Executor,
        permission: Permission::Allow,
        effect: Effect::Once,
        choices: Vec::new(),
    }];
    let (text, value) = encoded(&ask);
    assert!(
        text.contains(thinking)
            && text.contains(image.trim_end_matches('}'))
            && text.contains(r#""input":{"a": 1.50}"#),
        "{text}"
    );
    let mark = json!({"type": "ephemeral"});
    assert_eq!(
        value["system"],
        json!([{"type": "text", "text": "be good", "cache_control": mark}])
    );
    let tool =
        json!({"name": "bash", "description": "runs", "input_schema": {"type": "object"}, "cache_control": mark});
    assert_eq!(value["tools"], json!([tool]));
    assert_eq!((&value["max_tokens"], &value["stream"]), (&json!(1000), &json!(true)));
    let ours = event_id(2).to_string();
    let uses = [
        &value["messages"][1]["content"][2]["id"],
        &value["messages"][1]["content"][3]["id"],
    ];
    assert_eq!(uses, [&json!("toolu_1"), &json!(ours)]);
    let last = &value["messages"][2]["content"];
    assert_eq!(
        last[0],
        json!({"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "out"}]})
    );
    let empty = json!([{"type": "text", "text": "(no output)"}]);
    assert_eq!(
        last[1],
        json!({"type": "tool_result", "tool_use_id": ours, "content": empty, "is_error": true, "cache_control": mark})
    );
    assert_eq!(
        value["messages"][0]["content"][0]["cache_control"],
        json!({"type": "ephemeral"})
    );
    assert_eq!(text.matches("cache_control").count(), 4);
}

#[test]
fn what_would_be_refused_is_replaced() {
    let blank = Message {
        role: Role::User,
        parts: vec![MessagePart::Content(raw(r#"{"type":"text","text":" \n"}"#))],
    };
    let other = Message {
        role: Role::Assistant,
        parts: vec![native("openai", "{}")],
    };
    let marked = raw(r#"{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}"#);
    let marked = Message {
        role: Role::User,
        parts: vec![MessagePart::Content(marked)],
    };
    let (_, value) = encoded(&request("claude-x", vec![blank, other, marked]));
    let content = json!([
        {"type": "text", "text": "(empty message)"},
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
    ]);
    assert_eq!(value["messages"], json!([{"role": "user", "content": content}]));
    assert!(value.get("system").is_none() && value.get("tools").is_none());
}

#[test]
fn effort_is_sent_only_when_asked_for() {
    let mut ask = request("claude-x", vec![said("hi")]);
    assert!(encoded(&ask).1.get("thinking").is_none());
    for effort in [r#""high""#, r#"{"type":"high"}"#] {
        ask.model.effort = Some(raw(effort));
        let (_, value) = encoded(&ask);
        assert_eq!(
            (&value["thinking"]["type"], &value["output_config"]["effort"]),
            (&json!("adaptive"), &json!("high"))
        );
    }
    ask.model.effort = Some(raw(r#""unheard-of""#));
    assert!(encoded(&ask).1.get("thinking").is_none());
}

/// Each request repeats the one before, word for word but for the marks, and has a mark where that one had its last.
#[test]
fn each_request_extends_the_cached_prefix_of_the_one_before() {
    let unmarked = |value: &Value| {
        let mut value = value.clone();
        for message in value["messages"].as_array_mut().unwrap() {
            for block in message["content"].as_array_mut().unwrap() {
                block.as_object_mut().unwrap().remove("cache_control");
            }
        }
        value["messages"].as_array().unwrap().clone()
    };
    let marked = |value: &Value| {
        let messages = value["messages"].as_array().unwrap().iter().enumerate();
        let marked = messages.flat_map(|(at, message)| {
            let blocks = message["content"].as_array().unwrap().iter().enumerate();
            blocks
                .filter(|(_, block)| block.get("cache_control").is_some())
                .map(move |(n, _)| (at, n))
        });
        marked.collect::<Vec<_>>()
    };
    let mut ask = request("claude-x", vec![said("hi")]);
    ask.system = Some("be good".into());
    let mut before = encoded(&ask).1;
    assert_eq!(marked(&before), [(0, 0)]);
    for n in 1..8 {
        let calls = (0..n).map(|k| MessagePart::ToolUse {
            id: event_id(n * 10 + k),
            native_id: None,
            name: "bash".into(),
            input: raw("{}"),
        });
        let results = (0..n).map(|k| MessagePart::ToolResult {
            id: event_id(n * 10 + k),
            native_id: None,
            content: text_content("out"),
            is_error: false,
        });
        ask.messages.push(Message {
            role: Role::Assistant,
            parts: calls.collect(),
        });
        ask.messages.push(Message {
            role: Role::User,
            parts: results.collect(),
        });
        if n % 3 == 0 {
            let steering = said("and another thing").parts.remove(0);
            ask.messages.last_mut().unwrap().parts.push(steering);
        }
        let (text, now) = encoded(&ask);
        assert!(unmarked(&now).starts_with(&unmarked(&before)));
        let (old, new) = (marked(&before), marked(&now));
        assert_eq!(new.len(), 2);
        assert_eq!(old.last(), new.first(), "the last mark of the request before stays");
        assert_eq!(new[1].0, now["messages"].as_array().unwrap().len() - 1);
        assert!(text.matches("cache_control").count() <= 4);
        before = now;
    }
}

#[test]
fn what_no_model_takes_becomes_a_note() {
    let blocks = [
        r#"{"type":"image","source":{"type":"base64","media_type":"image/bmp","data":"AA"}}"#,
        r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#,
        r#"{"type":"odd","x":1}"#,
        r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":" "}}"#,
    ];
    for block in blocks {
        let sent = ours(&raw(block), Without::default()).unwrap();
        assert!(sent.text().contains(r#""type":"text""#), "{}", sent.text());
    }
    let pdf = r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"},"citations":{"enabled":true}}"#;
    assert_eq!(ours(&raw(pdf), Without::default()).unwrap().text(), pdf);
    let without = Without {
        documents: true,
        ..Without::default()
    };
    assert!(ours(&raw(pdf), without).unwrap().text().contains("not shown"));
}
