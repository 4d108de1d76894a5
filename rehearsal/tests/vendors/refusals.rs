//! What is refused, and in whose words.

use perennial_rehearsal::server::Settings;
use perennial_rehearsal::validate;
use perennial_rehearsal::{Answer, Wire};
use serde_json::{Value, json};

use crate::client::{WIRES, ask, go_on, post, server};

/// Each change makes a good request a bad one.
fn check(good: &Value, check: impl Fn(&Value) -> Result<(), String>, changes: &[(&str, Value, &str)]) {
    assert_eq!(check(good), Ok(()));
    for (pointer, value, says) in changes {
        let mut bad = good.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = bad
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("{pointer} is not there"));
        match parent {
            Value::Array(values) => values[member.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[member] = value.clone(),
        }
        let refusal = check(&bad).expect_err(pointer);
        assert!(refusal.contains(says), "{pointer}: {refusal}");
    }
}

#[test]
fn chat_requests_are_checked() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "bash", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "out"});
    let good = json!({
        "model": "m", "max_tokens": 1, "stream": true, "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
            result("a"), result("b"),
            {"role": "assistant", "content": "ok"},
            {"role": "user", "content": "more"},
        ],
    });
    check(
        &good,
        validate::chat,
        &[
            ("/model", json!(""), "model"),
            ("/max_tokens", json!(0), "max_tokens"),
            ("/max_completion_tokens", json!("1"), "max_completion_tokens"),
            ("/thinking", json!({}), "thinking: extra"),
            ("/stream", json!(false), "only with stream"),
            ("/n", json!(2), "only one"),
            ("/temperature", json!(3), "temperature"),
            ("/tools/0/type", json!("odd"), "not a function"),
            ("/tools/0/function/name", json!("a b"), "not a name"),
            (
                "/tools/0/function/parameters",
                json!({"type": "object", "properties": 1}),
                "/properties",
            ),
            ("/messages", json!([]), "empty"),
            ("/messages/1/content", json!(" "), "empty content"),
            ("/messages/1/content/0/type", json!("input_text"), "no place here"),
            (
                "/messages/1/content/0",
                json!({"type": "image_url", "image_url": {"url": "x"}}),
                "neither http",
            ),
            ("/messages/2/tool_calls/0/function/arguments", json!("["), "no object"),
            ("/messages/2/tool_calls/0/id", json!("b"), "two calls"),
            ("/messages/2/tool_calls", json!([]), "tool_calls: empty"),
            ("/messages/3/tool_call_id", json!("b"), "or twice"),
            (
                "/messages/4",
                json!({"role": "user", "content": "x"}),
                "no tool message",
            ),
            ("/messages/5/content", json!(null), "required without"),
            ("/messages/5/role", json!("odd"), "unknown role"),
            (
                "/messages/6",
                json!({"role": "assistant", "content": "x"}),
                "must not be the assistant",
            ),
        ],
    );
}

#[test]
fn what_the_harnesses_send_is_taken_and_what_they_never_send_is_not() {
    let issued = validate::Issued::default();
    let good = json!({
        "model": "m", "max_tokens": 2000, "stream": true, "metadata": {"user_id": "u"}, "temperature": 1,
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "context_management": {}, "output_config": {},
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "b", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "tool", "name": "b"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "note"},
        ],
    });
    check(
        &good,
        |body| validate::messages(body, &issued),
        &[
            ("/thinking/budget_tokens", json!(1023), "at least 1024"),
            ("/thinking/budget_tokens", json!(2000), "less than max_tokens"),
            ("/thinking/type", json!("odd"), "thinking.type"),
            ("/prompt_cache_key", json!("x"), "prompt_cache_key: extra"),
            ("/messages/0/name", json!("x"), "name: extra"),
            (
                "/messages/0/content/0/cache_control",
                json!({"type": "odd"}),
                "must be ephemeral",
            ),
            ("/system/0/cache_control/ttl", json!("1d"), "ttl"),
            ("/tool_choice/name", json!("c"), "no tool"),
            ("/messages/0/role", json!("system"), "must be user"),
            ("/temperature", json!(1.5), "temperature"),
            ("/stream", json!("yes"), "stream"),
        ],
    );
    let good =
        json!({"model": "m", "input": "x", "store": true, "client_metadata": {}, "tools": [{"type": "web_search"}]});
    check(
        &good,
        |body| validate::responses(body, &issued),
        &[
            ("/previous_response_id", json!("r"), "nothing is stored"),
            ("/max_tokens", json!(1), "max_tokens: extra"),
            ("/input", json!(""), "empty"),
            (
                "/tools/0",
                json!({"type": "namespace", "name": "n", "tools": []}),
                "namespace",
            ),
        ],
    );
}

#[tokio::test]
async fn a_refusal_is_the_vendors_and_is_kept() {
    for wire in WIRES {
        let server = server(Settings::default()).await;
        let mut body = ask(wire, "/say hi");
        body["model"] = json!("");
        let answer = post(&server, wire, &body).await;
        assert_eq!(answer.status, 400);
        let refusal = answer.json();
        assert_eq!(refusal["error"]["type"], "invalid_request_error");
        assert_eq!(refusal["error"]["message"], "model: required");
        assert_eq!(refusal.get("type").is_some(), wire == Wire::Messages, "{refusal}");
        assert_eq!(server.violations(), ["model: required"]);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_lenient_server_answers_and_notes() {
    let lenient = Settings {
        strict: false,
        ..Settings::default()
    };
    let server = server(lenient).await;
    let mut body = ask(Wire::Messages, "/say hi");
    body["nonsense"] = json!(1);
    assert_eq!(post(&server, Wire::Messages, &body).await.status, 200);
    assert_eq!(server.violations().len(), 1);
}

#[tokio::test]
async fn thoughts_must_come_back_unchanged_even_to_another_server() {
    for wire in [Wire::Messages, Wire::Responses] {
        let (one, two) = (server(Settings::default()).await, server(Settings::default()).await);
        let mut body = ask(wire, "/think hm\n/tool read");
        let answer = post(&one, wire, &body).await.json();
        go_on(wire, &mut body, &answer);
        let whole: Value = body.clone();
        assert_eq!(post(&two, wire, &whole).await.status, 200, "{wire:?}");
        let forged: Value = serde_json::from_str(&whole.to_string().replace("\"hm\"", "\"ha\"")).unwrap();
        let refusal = post(&two, wire, &forged).await;
        assert!(
            refusal.status == 400 && refusal.text.contains("was changed"),
            "{}",
            refusal.text
        );
        // Who gave it out also knows when it is left out.
        let mut without = whole;
        match wire {
            Wire::Messages => drop(without["messages"][1]["content"].as_array_mut().unwrap().remove(0)),
            _ => drop(without["input"].as_array_mut().unwrap().remove(1)),
        }
        let refusal = post(&one, wire, &without).await;
        assert!(
            refusal.status == 400 && refusal.text.contains("is missing"),
            "{}",
            refusal.text
        );
    }
}

#[tokio::test]
async fn who_shows_no_key_is_a_stranger() {
    let server = server(Settings::default()).await;
    for wire in WIRES {
        let url = format!("{}{}", server.origin(), wire.path());
        let answer = reqwest::Client::new()
            .post(url)
            .json(&ask(wire, "x"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{wire:?}");
    }
    assert_eq!(
        server.violations(),
        Vec::<String>::new(),
        "a stranger is no bad request"
    );
}

#[tokio::test]
async fn pushed_answers_and_faults_come_first() {
    for wire in WIRES {
        let server = server(Settings::default()).await;
        server.push(
            Answer::new()
                .text(&["a", "b"])
                .error_after(2, "overloaded_error", "later"),
        );
        server.push(Answer::new().text(&["pushed"]).max_tokens());
        let mut body = ask(wire, "/say script");
        body["stream"] = json!(true);
        let cut = post(&server, wire, &body).await;
        assert!(
            cut.text.contains("later") && cut.text.contains("overloaded_error"),
            "{}",
            cut.text
        );
        body["stream"] = json!(false);
        let whole = post(&server, wire, &body).await.json();
        let reason = match wire {
            Wire::Messages => &whole["stop_reason"],
            Wire::Responses => &whole["incomplete_details"]["reason"],
            Wire::Chat => &whole["choices"][0]["finish_reason"],
        };
        assert!(["max_tokens", "max_output_tokens", "length"].contains(&reason.as_str().unwrap()));
        let last = post(&server, wire, &body).await.json();
        assert_eq!(go_on(wire, &mut body, &last), ["script"]);
    }
}
