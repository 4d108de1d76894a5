//! What Codex sends upstream for each ending of a conversation: the log, our tools, and nothing else. When a version of Codex
//! changes, this is where it shows.

use perennial_engine::ports::{Part, StopKind};
use serde_json::{Value, json};

use crate::bench::{Bench, called, results, said, shown, spoke};
use crate::upstream::{Reply, call, output, reasoning, refusal, system, text, user};

const VERSION: &str = "codex 0.169.0";

fn bash(id: &str, command: &str) -> Value {
    call(id, "bash", &json!({"command": command}))
}

/// The prompt of every conversation here, after the system prompt.
fn opening(prompt: &str) -> Vec<Value> {
    vec![system("You are a test."), user(prompt)]
}

#[tokio::test]
async fn a_fresh_turn_sends_the_prompt_and_nothing_else() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello you")])]).await else {
        return;
    };
    let step = bench.think(vec![said("go")]).await.unwrap();
    assert!(
        matches!(&step.parts[..], [Part::Text { text, .. }] if text == "hello you"),
        "{step:?}"
    );
    let usage = step.usage;
    assert_eq!(
        (
            step.stop,
            usage.input_tokens,
            usage.cache_read_input_tokens,
            usage.output_tokens
        ),
        (StopKind::EndTurn, 11, 5, 7)
    );
    assert_eq!(bench.sink.text, "hello you");
    assert!(!bench.harness.waits_for_results(), "a finished turn keeps no thread");

    assert_eq!(bench.upstream.conversation(0), opening("go"), "{VERSION}");
    let requests = bench.upstream.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    let mut members: Vec<&String> = request.as_object().unwrap().keys().collect();
    members.sort();
    let known = [
        "client_metadata",
        "include",
        "input",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "store",
        "stream",
        "text",
        "tool_choice",
        "tools",
    ];
    assert_eq!(members, known, "{VERSION}");
    assert_eq!(request["model"], "gpt-6-sol");
    assert_eq!(request["store"], false);
    assert_eq!(request["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(request["prompt_cache_key"], bench.key.session.uuid().to_string());
    let offered: Vec<Value> = bench
        .tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function", "name": tool.name, "description": tool.description,
                "strict": false, "parameters": simplified(&tool.input_schema),
            })
        })
        .collect();
    assert_eq!(request["tools"], Value::Array(offered), "{VERSION}");
}

/// Codex keeps of a schema what it knows, which leaves out these bounds.
fn simplified(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !["format", "minimum", "maxItems"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), simplified(value)))
            .collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_next_turn_is_the_whole_conversation() {
    let replies = vec![Reply::Says(vec![text("one")]), Reply::Says(vec![text("two")])];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("a")]).await.unwrap();
    bench.another_drive();
    bench.think(vec![said("a"), spoke(&first), said("b")]).await.unwrap();
    let expected = [opening("a"), vec![text("one"), user("b")]].concat();
    assert_eq!(bench.upstream.conversation(1), expected, "{VERSION}");
}

#[tokio::test]
async fn a_conversation_that_ends_in_results_goes_on() {
    let replies = vec![
        Reply::Says(vec![
            reasoning("rs_1", "c2Vj+/=="),
            text("I look"),
            bash("call_a", "date"),
        ]),
        Reply::Says(vec![text("late")]),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("time?")]).await.unwrap();
    bench.another_drive();
    bench
        .think(vec![said("time?"), spoke(&first), results(&first, &["midnight"])])
        .await
        .unwrap();
    let said = vec![
        reasoning("rs_1", "c2Vj+/=="),
        text("I look"),
        bash("call_a", "date"),
        output("call_a", "midnight"),
    ];
    assert_eq!(
        bench.upstream.conversation(1),
        [opening("time?"), said].concat(),
        "{VERSION}"
    );
    assert_eq!(bench.upstream.requests().len(), 2, "nothing was asked twice");
}

#[tokio::test]
async fn the_live_thread_and_a_rendering_send_the_same() {
    let said_first = || {
        vec![
            reasoning("rs_1", "c2Vj+/=="),
            text("I look"),
            bash("call_a", "date"),
            bash("call_b", "id"),
        ]
    };
    let done = || Reply::Says(vec![text("done")]);
    let Some(mut live) = Bench::open(vec![Reply::Says(said_first()), done()]).await else {
        return;
    };
    let first = live.think(vec![said("go")]).await.unwrap();
    assert!(live.harness.waits_for_results());
    let messages = vec![said("go"), spoke(&first), results(&first, &["a", "b\n\nc\n"])];
    live.think(messages.clone()).await.unwrap();
    let mut fresh = live.another_session();
    fresh.upstream.push(done());
    fresh.think(messages).await.unwrap();
    assert_eq!(
        live.upstream.conversation(1),
        live.upstream.conversation(2),
        "{VERSION}"
    );
    assert_eq!(live.upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_conversation_that_ends_in_results_and_words_goes_on() {
    let replies = vec![
        Reply::Says(vec![bash("call_a", "date")]),
        Reply::Says(vec![text("understood")]),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    let mut heard = results(&first, &["x"]);
    heard.parts.extend(said("rather not").parts);
    bench.think(vec![said("go"), spoke(&first), heard]).await.unwrap();
    let expected = [
        opening("go"),
        vec![bash("call_a", "date"), output("call_a", "x"), user("rather not")],
    ];
    assert_eq!(bench.upstream.conversation(1), expected.concat(), "{VERSION}");
    assert_eq!(called(&first)[0].0, "call_a");
}

#[tokio::test]
async fn a_long_conversation_arrives_whole() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")])]).await else {
        return;
    };
    let step = |n: usize| perennial_engine::ports::ModelStep {
        parts: vec![Part::Text {
            id: perennial_schema::EventId::from_uuid(uuid::Uuid::now_v7()),
            text: format!("answer {n}"),
        }],
        ..Default::default()
    };
    let mut messages = Vec::new();
    let mut expected = vec![system("You are a test.")];
    for n in 0..125 {
        messages.extend([said(&format!("question {n}")), spoke(&step(n))]);
        expected.extend([user(&format!("question {n}")), text(&format!("answer {n}"))]);
    }
    let long = "all work and no play\n".repeat(12_000);
    messages.push(said(&long));
    expected.push(user(&long));
    bench.think(messages).await.unwrap();
    assert!(bench.upstream.conversation(0) == expected, "{VERSION}");
}

#[tokio::test]
async fn pictures_and_documents_of_the_user_arrive() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("a dot")])]).await else {
        return;
    };
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}});
    let pdf = json!({"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}});
    let prompt = shown(&[json!({"type": "text", "text": "what is this?"}), picture, pdf]);
    bench.think(vec![prompt]).await.unwrap();
    let content = &bench.upstream.conversation(0)[1]["content"];
    assert_eq!(content[0]["text"], "what is this?");
    assert_eq!(
        content[1]["image_url"],
        format!("data:image/png;base64,{DOT}"),
        "{VERSION}"
    );
    let told = content[2]["text"].as_str().unwrap();
    assert!(told.contains("a.pdf") && told.contains("cannot"), "{told}");
}

/// One pixel.
pub(crate) const DOT: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[tokio::test]
async fn an_agent_may_have_no_system_prompt_another_effort_and_an_unknown_model() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")])]).await else {
        return;
    };
    bench.agent.system = None;
    bench.agent.model.id = "openai/nobody-knows-1".into();
    bench.agent.model.effort = Some(serde_json::from_str(r#"{"type": "low"}"#).unwrap());
    bench.think(vec![said("go")]).await.unwrap();
    assert_eq!(bench.upstream.conversation(0), [user("go")], "{VERSION}");
    let request = &bench.upstream.requests()[0];
    assert_eq!(
        (&request["model"], &request["reasoning"]["effort"]),
        (&json!("nobody-knows-1"), &json!("low"))
    );
    let offered: Vec<&Value> = request["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(offered, ["bash", "read"], "{VERSION}");
}

#[tokio::test]
async fn a_prompt_that_looks_like_a_command_is_a_prompt() {
    for prompt in ["/status", "!ls", "$skill", "@file", "<turn_aborted>"] {
        let Some(mut bench) = Bench::open(vec![Reply::Says(vec![text("hello")])]).await else {
            return;
        };
        bench.think(vec![said(prompt)]).await.unwrap();
        assert_eq!(bench.upstream.conversation(0), opening(prompt), "{VERSION}");
    }
}

#[tokio::test]
async fn a_full_answer_and_a_refusal_are_answers() {
    let replies = vec![
        Reply::Stops(vec![text("and so on")], "max_output_tokens"),
        Reply::Stops(vec![text("I sh")], "content_filter"),
        Reply::Says(vec![refusal("I will not")]),
    ];
    let Some(mut bench) = Bench::open(replies).await else {
        return;
    };
    for stop in [StopKind::MaxTokens, StopKind::Refusal, StopKind::Refusal] {
        let step = bench.think(vec![said("go")]).await.unwrap();
        assert_eq!((step.stop, step.parts.len()), (stop, 1), "{step:?}");
        assert!(!bench.harness.waits_for_results());
    }
    assert_eq!(bench.upstream.requests().len(), 3, "nothing was asked twice");
}
